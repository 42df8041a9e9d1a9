package natsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// natsLog passes the server's warnings and errors to slog and the first fatal
// one to whoever started the server; the rest is noise.
type natsLog struct {
	out   *slog.Logger
	fatal chan error
}

func newLog(out *slog.Logger) *natsLog {
	if out == nil {
		out = slog.Default()
	}
	return &natsLog{out: out.With("component", "nats"), fatal: make(chan error, 1)}
}

func (l *natsLog) Noticef(string, ...any) {}
func (l *natsLog) Debugf(string, ...any)  {}
func (l *natsLog) Tracef(string, ...any)  {}

func (l *natsLog) Warnf(format string, v ...any) {
	// A payload a little above the server's advice is our choice.
	if strings.HasPrefix(format, "Maximum payloads over") {
		return
	}
	l.log(slog.LevelWarn, format, v)
}

func (l *natsLog) Errorf(format string, v ...any) { l.log(slog.LevelError, format, v) }

func (l *natsLog) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- errors.New("nats: " + lower(fmt.Sprintf(format, v...))):
	default:
		l.log(slog.LevelError, format, v)
	}
}

func (l *natsLog) log(level slog.Level, format string, v []any) {
	l.out.Log(context.Background(), level, fmt.Sprintf(format, v...))
}

func lower(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
