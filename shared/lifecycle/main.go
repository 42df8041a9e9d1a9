package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Main is the body of a main function. It calls run with a ctx that SIGINT and
// SIGTERM end; a second signal exits at once. An error is printed as one line
// to standard error and exits with 1, or with what its method ExitCode says.
func Main(run func(ctx context.Context) error) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(status(run, signals, os.Stderr))
}

func status(run func(ctx context.Context) error, signals <-chan os.Signal, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	interrupted := false
	for {
		select {
		case err := <-done:
			if err == nil {
				return 0
			}
			code := 1
			if own, ok := errors.AsType[interface {
				error
				ExitCode() int
			}](err); ok {
				code = own.ExitCode()
			}
			return fail(stderr, code, strings.ReplaceAll(err.Error(), "\n", "; "))
		case <-signals:
			if interrupted {
				return fail(stderr, 1, "interrupted twice, not waiting for a clean stop")
			}
			interrupted = true
			cancel()
		}
	}
}

func fail(stderr io.Writer, code int, why string) int {
	// There is nobody left to tell when standard error is gone.
	_, _ = fmt.Fprintf(stderr, "hangar: %s\n", why)
	return code
}
