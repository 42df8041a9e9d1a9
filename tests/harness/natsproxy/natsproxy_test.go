package natsproxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"testing"

	"hangar/tests/harness/natsproxy"
)

// TestHold: what is held back comes later, in order; the rest comes at once.
func TestHold(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p := natsproxy.Start(t, "nats://"+ln.Addr().String())
	client, err := net.Dial("tcp", p.URL()[len("nats://"):])
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	lines := bufio.NewReader(client)
	say := func(text string) {
		t.Helper()
		if _, err := io.WriteString(server, text); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(lines, got); err != nil || string(got) != want {
			t.Fatalf("%q, %v, want %q", got, err, want)
		}
	}
	message := func(subject, text string) string {
		return fmt.Sprintf("MSG %s 1 %d\r\n%s\r\n", subject, len(text), text)
	}
	say("INFO {}\r\n" + message(natsproxy.Control+"a", "before"))
	hear("INFO {}\r\n" + message(natsproxy.Control+"a", "before"))
	p.Hold(natsproxy.Control)
	headers := "HMSG " + natsproxy.Control + "c 1 reply 2 5\r\nhhtwo\r\n"
	say(message(natsproxy.Control+"b", "o\r\nne") + headers + message("other", "x") + "PING\r\n")
	hear(message("other", "x") + "PING\r\n")
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	say("PONG\r\n")
	hear(message(natsproxy.Control+"b", "o\r\nne") + headers + "PONG\r\n")
}
