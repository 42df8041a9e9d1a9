// Package jaeger pins the trace backend that `make trace-test` builds and runs.
// It is a module of its own, so that nothing else needs what Jaeger needs.
package jaeger
