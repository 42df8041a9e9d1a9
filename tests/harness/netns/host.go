package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Host is a network namespace with a loopback interface and eth0. It is safe
// for concurrent use.
type Host struct {
	name, zone string
	addr       netip.Addr
	tun        *os.File // the wire's end of eth0
	ns         *os.File // the namespace

	// calls are done one after the other by a thread that lives in the
	// namespace as long as the host: processes die with the thread that
	// started them.
	calls chan func()
	left  chan struct{} // closed when the thread has left

	once sync.Once
	quit chan struct{}
}

// errClosed is the answer of a host whose network is closed.
var errClosed = errors.New("netns: the host is closed")

func newHost(name, zone string, addr netip.Addr) (*Host, error) {
	h := &Host{name: name, zone: zone, addr: addr, calls: make(chan func()), left: make(chan struct{}), quit: make(chan struct{})}
	ready := make(chan error)
	go h.live(ready)
	if err := <-ready; err != nil {
		<-h.left
		return nil, err
	}
	return h, nil
}

// live is the host's thread.
func (h *Host) live(ready chan<- error) {
	defer close(h.left)
	// Never unlocked: the thread ends with this goroutine.
	runtime.LockOSThread()
	home, err := os.Open(threadNS)
	if err != nil {
		ready <- err
		return
	}
	defer home.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		ready <- fmt.Errorf("a new network namespace needs root: %w", err)
		return
	}
	// The first thread of a process does not end; it must not keep the
	// namespace. It cannot fail: the thread came from there.
	defer func() { _ = unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) }()
	if h.ns, err = os.Open(threadNS); err != nil {
		ready <- err
		return
	}
	defer h.ns.Close()
	if h.tun, err = setUp(h.addr); err != nil {
		ready <- err
		return
	}
	defer h.tun.Close()
	ready <- nil
	for {
		select {
		case f := <-h.calls:
			f()
		case <-h.quit:
			return
		}
	}
}

const threadNS = "/proc/thread-self/ns/net"

// setUp makes the interfaces of the namespace that the calling thread is in.
func setUp(addr netip.Addr) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	if err := configure(fd, addr); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	// Only now, so that the poller sees a device it can wait for.
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}

func configure(tun int, addr netip.Addr) error {
	eth, err := unix.NewIfreq("eth0")
	if err != nil {
		return err
	}
	eth.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(tun, unix.TUNSETIFF, eth); err != nil {
		return fmt.Errorf("making eth0: %w", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(s) }() // nothing was written to it
	ip := addr.As4()
	for _, set := range []struct {
		name string
		what uint
		to   func(*unix.Ifreq) error
	}{
		{"eth0", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(ip[:]) }},
		{"eth0", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 0, 0}) }},
		{"eth0", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtuBytes); return nil }},
		{"eth0", unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error { r.SetUint32(wirePackets); return nil }},
		{"lo", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP); return nil }},
		{"eth0", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP); return nil }},
	} {
		r, err := unix.NewIfreq(set.name)
		if err == nil {
			err = set.to(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(s, set.what, r)
		}
		if err != nil {
			return fmt.Errorf("setting %#x of %s: %w", set.what, set.name, err)
		}
	}
	return nil
}

// close ends the processes of the host and takes its interface down.
func (h *Host) close() {
	h.once.Do(func() { close(h.quit) })
	<-h.left
}

// Name is unique in the network.
func (h *Host) Name() string { return h.name }

// Zone is where the host stands.
func (h *Host) Zone() string { return h.zone }

// Addr is the host's address, the same as long as it lives.
func (h *Host) Addr() netip.Addr { return h.addr }

// AddrPort is Addr and a port, as host:port.
func (h *Host) AddrPort(port uint16) string { return netip.AddrPortFrom(h.addr, port).String() }

// do runs f on the host's thread.
func (h *Host) do(f func() error) error {
	done := make(chan error, 1)
	select {
	case h.calls <- func() { done <- f() }:
		return <-done
	case <-h.left:
		return errClosed
	}
}

// Start starts cmd inside the host. The process is killed when the host is
// closed and when this process ends, however it does; the caller waits for it.
func (h *Host) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return h.do(cmd.Start)
}

// Run starts cmd inside the host and waits for it.
func (h *Host) Run(cmd *exec.Cmd) error {
	if err := h.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// Listen listens on the host's address; port 0 picks a free one.
func (h *Host) Listen(ctx context.Context, port uint16) (net.Listener, error) {
	var l net.Listener
	err := h.do(func() error {
		var err error
		l, err = (&net.ListenConfig{}).Listen(ctx, "tcp4", h.AddrPort(port))
		return err
	})
	return l, err
}

// DialContext connects from inside the host to host:port, which must be an
// address, not a name.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ip, err := netip.ParseAddr(name)
	if err != nil {
		return nil, fmt.Errorf("netns: there is no name service: %w", err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("netns: port %q: %w", port, err)
	}
	target := netip.AddrPortFrom(ip, uint16(number)).String()
	type answer struct {
		conn net.Conn
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		conn, err := h.dial(ctx, network, target)
		done <- answer{conn, err}
	}()
	a := <-done
	return a.conn, a.err
}

// dial moves the calling goroutine into the host for good: it is the last
// thing the goroutine does. A thread of its own, because many may wait for an
// answer at the same time.
func (h *Host) dial(ctx context.Context, network, target string) (net.Conn, error) {
	select {
	case <-h.left:
		return nil, errClosed
	default:
	}
	runtime.LockOSThread()
	home, err := os.Open(threadNS)
	if err != nil {
		return nil, err
	}
	defer home.Close()
	if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("entering host %s: %w", h.name, err)
	}
	// As in live: the first thread of a process outlives its goroutine.
	defer func() { _ = unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) }()
	return (&net.Dialer{Timeout: 30 * time.Second}).DialContext(ctx, network, target)
}

// Transport makes HTTP requests from inside the host. Connections stay open
// between requests; the caller closes idle ones.
func (h *Host) Transport() *http.Transport {
	return &http.Transport{DialContext: h.DialContext, MaxIdleConnsPerHost: 64, DisableCompression: true}
}

// String names the host for people.
func (h *Host) String() string { return h.name + " (" + h.addr.String() + ")" }
