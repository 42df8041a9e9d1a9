package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"hangar/services/gateway/internal/access"
	"hangar/services/gateway/internal/changes"
	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/items"
	"hangar/services/gateway/internal/k2v"
	"hangar/shared/lifecycle"
)

// serveK2V adds the K2V API to a gateway that is starting, if it is to have one.
// It shares keys, certificate and limits of time with S3.
func (g *Gateway) serveK2V(ctx context.Context, group *lifecycle.Group, conf *tls.Config) error {
	if g.cfg.K2VAddr == "" {
		return nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", g.cfg.K2VAddr)
	if err != nil {
		return fmt.Errorf("HANGAR_K2V_ADDR: %w", err)
	}
	t := g.deps.Telemetry
	hub := changes.NewHub(g.deps.Bus)
	service := items.New(g.deps.Rows, hub, items.Config{MayWrite: g.mayWrite, Now: g.deps.Now})
	g.items.Store(service)
	seen := newMetrics(t.Registry, "k2v")
	cluster := g.deps.View().Cluster
	api := k2v.New(k2v.Options{
		Items: service, View: func() access.Directory { return g.deps.View() }, Await: g.deps.Await, Region: cluster.Region,
		Log: t.Logger, Tracer: t.Tracers.Tracer("hangar/services/gateway"), TraceNames: g.cfg.TraceNames,
		Observe: seen.observeK2V, Now: g.deps.Now,
	})
	server := httpd.New(httpd.Config{
		MaxRequests: g.cfg.K2VRequests, MaxParked: g.cfg.K2VPolls, Methods: []string{k2v.MethodSearch},
		StallTimeout: g.cfg.StallTimeout, Grace: g.cfg.Grace, TLS: conf,
	}, api, t.Logger)
	seen.track(server.Active)
	seen.trackPolls(server.Parked)
	group.Defer("K2V metrics", func(context.Context) error { seen.unregister(); return nil })
	group.Go("changes of items", hub.Run)
	group.Go("K2V API", func(ctx context.Context) error { return server.Serve(ctx, ln) })
	g.k2vAddr = ln.Addr()
	t.Logger.InfoContext(ctx, "serving K2V", "addr", ln.Addr().String(), "region", cluster.Region)
	return nil
}
