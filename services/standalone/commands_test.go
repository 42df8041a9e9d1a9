package standalone

import (
	"testing"

	"hangar/shared/config"
)

func TestBrokerConfig(t *testing.T) {
	for _, c := range []struct {
		name string
		env  []string
		want string // the error
	}{
		{"alone", nil, ""},
		{"one of several", []string{"HANGAR_NATS_NAME=a", "HANGAR_NATS_CLUSTER_LISTEN=:6222", "HANGAR_NATS_ROUTES=b:6222,c:6222"}, ""},
		{"the first of several", []string{"HANGAR_NATS_NAME=a", "HANGAR_NATS_CLUSTER_LISTEN=:6222"}, ""},
		{"no name", []string{"HANGAR_NATS_CLUSTER_LISTEN=:6222"}, "HANGAR_NATS_CLUSTER_LISTEN needs HANGAR_NATS_NAME and HANGAR_NATS_CLUSTER"},
		{"routes alone", []string{"HANGAR_NATS_ROUTES=b:6222"}, "HANGAR_NATS_ROUTES, HANGAR_NATS_CLUSTER_SECRET and HANGAR_NATS_CLUSTER_CA need HANGAR_NATS_CLUSTER_LISTEN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cfg brokerConfig
			got := ""
			if err := config.Parse(&cfg, c.env); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Fatalf("got %q", got)
			}
			o := cfg.options("d", "l")
			if alone := cfg.Listen == ""; alone != (o.Cluster == nil) {
				t.Errorf("cluster %+v", o.Cluster)
			}
			if o.Cluster != nil && len(o.Cluster.Routes) != len(cfg.Routes) {
				t.Errorf("routes %q", o.Cluster.Routes)
			}
		})
	}
}
