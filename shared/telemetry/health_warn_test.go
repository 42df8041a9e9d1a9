package telemetry

import "testing"

// Warnings are shown, and make nothing unhealthy.
func TestWarnings(t *testing.T) {
	h := NewHealth()
	var now []string
	h.Warn("blocks", func() []string { return now })
	if r := h.Check(t.Context()); !r.OK() || r.Warnings != nil {
		t.Errorf("%+v", r)
	}
	now = []string{"a disk is full"}
	if r := h.Check(t.Context()); !r.OK() || len(r.Warnings["blocks"]) != 1 {
		t.Errorf("%+v", r)
	}
}
