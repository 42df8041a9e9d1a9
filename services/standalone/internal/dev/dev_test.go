package dev

import "testing"

// TestPlan: every process and API has an address of its own.
func TestPlan(t *testing.T) {
	o := &Options{Dir: t.TempDir(), Meta: 3, Blocks: 4, Gateways: 2, ReplicationFactor: 3}
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	c, err := o.plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.S3) != 2 || len(c.K2V) != 2 || len(c.Processes) != 2+3+4+2 {
		t.Errorf("planned %+v", c)
	}
	taken := map[string]bool{}
	addrs := append(append([]string{c.Admin, c.NATS}, c.S3...), c.K2V...)
	for _, p := range c.Processes {
		if p.Service != "nats" {
			addrs = append(addrs, "http://"+p.Ops)
		}
	}
	for _, a := range addrs {
		if taken[a] || len(a) < len("http://127.0.0.1:1") {
			t.Errorf("address %q is taken twice, or none", a)
		}
		taken[a] = true
	}
}
