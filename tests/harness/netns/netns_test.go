package netns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// child names the variable that makes this test binary play a test that is
// killed: see TestNothingIsLeftOfAKilledTest.
const child = "HANGAR_TEST_NETNS_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		playKilled()
	}
	os.Exit(m.Run())
}

// patience bounds what is awaited; quiet is how long nothing must arrive.
const (
	patience = 10 * time.Second
	quiet    = 300 * time.Millisecond
)

// echo answers datagrams at a host; it returns the address.
func echo(t *testing.T, h *Host) string {
	t.Helper()
	var c net.PacketConn
	err := h.do(func() error {
		var err error
		c, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", h.AddrPort(0))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(buf[:n], from) // lost like any datagram
		}
	}()
	return c.LocalAddr().String()
}

// ping sends one datagram and waits for its echo; false when there is none.
func ping(t *testing.T, from *Host, addr string, limit time.Duration) (time.Duration, bool) {
	t.Helper()
	c, err := from.DialContext(t.Context(), "udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	if _, err := c.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(began.Add(limit)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	if _, err := c.Read(buf); err != nil {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		return 0, false
	}
	return time.Since(began), true
}

func TestDelay(t *testing.T) {
	n := New(t)
	a, b, c := n.Host(t, "a", "z1"), n.Host(t, "b", "z2"), n.Host(t, "c", "z1")
	n.LinkZones(Link{Delay: 50 * time.Millisecond})
	fast := time.Hour
	for range 5 { // a busy machine only ever adds
		if rtt, ok := ping(t, a, echo(t, c), patience); ok {
			fast = min(fast, rtt)
		}
	}
	if fast > 40*time.Millisecond {
		t.Errorf("within a zone without a delay: %v", fast)
	}
	n.LinkOneWay("z2", "z1", Link{Delay: 30 * time.Millisecond})
	slow := time.Hour
	for range 5 {
		rtt, ok := ping(t, a, echo(t, b), patience)
		if !ok || rtt < 80*time.Millisecond {
			t.Fatalf("between zones 50 and 30 ms apart: %v, answered %t", rtt, ok)
		}
		slow = min(slow, rtt)
	}
	if slow > 200*time.Millisecond {
		t.Errorf("between zones 50 and 30 ms apart: %v", slow)
	}
}

func TestJitterKeepsTheOrder(t *testing.T) {
	n := New(t)
	a, b := n.Host(t, "a", "z1"), n.Host(t, "b", "z2")
	n.LinkZones(Link{Delay: 20 * time.Millisecond, Jitter: 15 * time.Millisecond})
	c, err := a.DialContext(t.Context(), "udp4", echo(t, b))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const count = 200
	for i := range count {
		fmt.Fprintf(c, "%d", i)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 16)
	for i := range count {
		size, err := c.Read(buf)
		if got := string(buf[:size]); err != nil || got != fmt.Sprint(i) {
			t.Fatalf("echo %d is %q, %v", i, got, err)
		}
	}
}

func TestLoss(t *testing.T) {
	n := New(t)
	a, b := n.Host(t, "a", "z1"), n.Host(t, "b", "z2")
	n.LinkOneWay("z1", "z2", Link{Loss: 0.5})
	addr, answered := echo(t, b), 0
	for range 40 {
		if _, ok := ping(t, a, addr, 50*time.Millisecond); ok {
			answered++
		}
	}
	// By chance once in some 10^11 runs.
	if answered == 0 || answered == 40 {
		t.Errorf("%d of 40 answered when each second packet is lost", answered)
	}
}

func TestCutAndHeal(t *testing.T) {
	n := New(t)
	a, b, c := n.Host(t, "a", "z1"), n.Host(t, "b", "z2"), n.Host(t, "c", "z2")
	toA, toB, toC := echo(t, a), echo(t, b), echo(t, c)
	check := func(what string, from *Host, addr string, want bool) {
		t.Helper()
		limit := patience
		if !want {
			limit = quiet
		}
		if _, ok := ping(t, from, addr, limit); ok != want {
			t.Errorf("%s: %s to %s answered: %t", what, from, addr, ok)
		}
	}
	check("at first", a, toB, true)
	n.Cut("a", "b")
	check("a and b cut", a, toB, false)
	check("a and b cut", b, toA, false)
	check("a and b cut", a, toC, true)
	n.Heal()
	check("healed", a, toB, true)
	n.Cut("z1", "z2")
	check("zones cut", a, toC, false)
	check("zones cut", b, toC, true)
	n.Mend("z2", "z1")
	check("mended", a, toC, true)
	n.Cut("b", Everyone)
	check("b alone", b, toC, false)
	check("b alone", b, toA, false)
	check("b alone", b, toB, true)
	check("b alone", a, toC, true)
	n.Heal()
	n.Cut(Everyone, "z2")
	check("z2 alone", b, toC, true)
	check("z2 alone", b, toA, false)
	check("z2 alone", a, toC, false)
	n.Heal()
	check("healed", a, toB, true)
}

// TestOneWayCut looks at one direction at a time: what is sent the open way
// arrives, though no answer comes back.
func TestOneWayCut(t *testing.T) {
	n := New(t)
	a, b := n.Host(t, "a", "z1"), n.Host(t, "b", "z2")
	l, err := b.Listen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := a.DialContext(t.Context(), "tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	receive := func(c net.Conn, limit time.Duration) (string, error) {
		buf := make([]byte, 16)
		_ = c.SetReadDeadline(time.Now().Add(limit))
		size, err := c.Read(buf)
		return string(buf[:size]), err
	}
	n.CutOneWay("z2", "z1")
	fmt.Fprint(conn, "there")
	if got, err := receive(peer, patience); got != "there" {
		t.Errorf("the open way brought %q, %v", got, err)
	}
	fmt.Fprint(peer, "back")
	if got, err := receive(conn, quiet); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the cut way brought %q, %v", got, err)
	}
	n.Heal()
	if got, err := receive(conn, patience); got != "back" {
		t.Errorf("after healing: %q, %v", got, err)
	}
}

func TestBulk(t *testing.T) {
	n := New(t)
	a, b := n.Host(t, "a", "z1"), n.Host(t, "b", "z2")
	l, err := b.Listen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const size = 32 << 20
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.CopyN(conn, zeros{}, size) // the reader counts
	}()
	conn, err := a.DialContext(t.Context(), "tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.Copy(io.Discard, conn); got != size || err != nil {
		t.Errorf("received %d of %d bytes: %v", got, size, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestProcessInAHost(t *testing.T) {
	n := New(t)
	h := n.Host(t, "a", "z1")
	var out strings.Builder
	cmd := exec.Command("cat", "/proc/net/dev")
	cmd.Stdout = &out
	if err := h.Run(cmd); err != nil {
		t.Fatal(err)
	}
	if got := interfaces(out.String()); got != "eth0 lo" {
		t.Errorf("a process in a host sees the interfaces %q", got)
	}
	before, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	if got := interfaces(string(before)); strings.Contains(got, "tun") {
		t.Errorf("the machine itself has the interfaces %q", got)
	}
	sleeper := exec.Command("sleep", "1000")
	if err := h.Start(sleeper); err != nil {
		t.Fatal(err)
	}
	n.Close()
	if err := sleeper.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("the process of a closed host ended with %v", err)
	}
	if err := h.Start(exec.Command("true")); !errors.Is(err, errClosed) {
		t.Errorf("starting in a closed host: %v", err)
	}
	if _, err := h.DialContext(t.Context(), "tcp4", "10.77.1.2:1"); !errors.Is(err, errClosed) {
		t.Errorf("dialing from a closed host: %v", err)
	}
}

// interfaces are the sorted names in the text of /proc/net/dev, which has two
// lines of headings.
func interfaces(dev string) string {
	var names []string
	for _, line := range strings.Split(dev, "\n")[2:] {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	if len(names) == 2 && names[0] > names[1] {
		names[0], names[1] = names[1], names[0]
	}
	return strings.Join(names, " ")
}

// TestNothingIsLeftOfAKilledTest kills a process that has a network.
func TestNothingIsLeftOfAKilledTest(t *testing.T) {
	New(t) // skips where there is no network
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var ns string
	if _, err := fmt.Fscanln(bufio.NewReader(out), &pid, &ns); err != nil {
		t.Fatal(err)
	}
	if users(t, ns) == 0 {
		t.Errorf("nobody is in the namespace %s of process %d", ns, pid)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says that it was killed
	for deadline := time.Now().Add(patience); users(t, ns) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d threads are left in the namespace %s", users(t, ns), ns)
		}
	}
}

// playKilled says what it started, and waits to be killed.
func playKilled() {
	n := Open()
	h, err := n.AddHost("a", "z1")
	cmd := exec.Command("sleep", "1000")
	if err == nil {
		err = h.Start(cmd)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(cmd.Process.Pid, ns)
	<-context.Background().Done()
}

// users counts the threads of the machine that are in a namespace.
func users(t *testing.T, ns string) int {
	t.Helper()
	tasks, err := filepath.Glob("/proc/[0-9]*/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, task := range tasks {
		if got, err := os.Readlink(task); err == nil && got == ns { // else it has ended
			count++
		}
	}
	return count
}
