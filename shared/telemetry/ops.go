package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hangar/shared/certificate"
)

// Handler serves /health (200 while at least reads are served, else 503; the body says which),
// /metrics and, when switched on, /debug/pprof/.
func (i *Instance) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", i.health)
	mux.Handle("GET /metrics", promhttp.HandlerFor(i.Registry, promhttp.HandlerOpts{Registry: i.Registry}))
	if i.pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func (i *Instance) health(w http.ResponseWriter, r *http.Request) {
	report := i.Health.Check(r.Context())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !report.Serves() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(w).Encode(report); err != nil {
		i.Logger.DebugContext(r.Context(), "health was not sent", "err", err)
	}
}

// Listen opens the address of the ops server, so that a busy port or a missing
// certificate is found before the service starts.
func (c Config) Listen(ctx context.Context) (net.Listener, error) {
	files := certificate.Files{Cert: c.OpsTLSCert, Key: c.OpsTLSKey, Setting: "HANGAR_OPS_TLS"}
	if err := files.Validate(); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.OpsAddr)
	if err != nil {
		return nil, fmt.Errorf("HANGAR_OPS_ADDR: %w", err)
	}
	secure, err := files.Listen(l)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return secure, nil
}

// Serve serves Handler on l until ctx ends.
func (i *Instance) Serve(ctx context.Context, l net.Listener) error {
	s := &http.Server{
		Handler:           i.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("ops server: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := s.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		// A profile may still be running; nobody waits for it.
		err = s.Close()
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
