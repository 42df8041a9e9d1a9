// Package natsd embeds a NATS server with JetStream, for a Hangar that brings
// its own broker and for tests. JetStream syncs every write to disk before it
// acknowledges: it holds the cluster's control state.
package natsd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// MaxPayloadBytes is the largest message: a block of 8 MiB and what wraps it.
const MaxPayloadBytes = 8<<20 + 64<<10

// readyTimeout bounds how long a start may take, recovery of streams included.
const readyTimeout = 60 * time.Second

// User may connect, and may publish and subscribe to the subjects listed
// (patterns); empty lists allow everything.
type User struct {
	Name, Password     string
	Publish, Subscribe []string
}

// Cluster joins several servers into one.
type Cluster struct {
	// Name is the same on all servers of the cluster.
	Name string
	// Listen is the host:port that other servers connect to.
	Listen string
	// Routes are URLs of the other servers, nats-route://host:port, or just
	// host:port. A server that is its own route notices.
	Routes []string
	// Secret that the servers show each other; empty asks for none.
	Secret string
	// TLSCA is a file of certificates and turns on TLS between the servers, which
	// show each other Options.TLSCert and must present one signed by these.
	TLSCA string
}

// Options say how to run a server.
type Options struct {
	// Dir holds the streams. It is created with mode 0700 and locked.
	Dir string
	// Listen is the host:port for clients; port 0 picks a free one. Empty
	// means no socket at all: only InProcess reaches the server.
	Listen string
	// Name of the server, unique in its cluster. Generated when empty.
	Name string
	// MaxPayload in bytes; MaxPayloadBytes by default.
	MaxPayload int32
	// Users or Token restrict who may connect, in-process clients included.
	Users []User
	Token string
	// UsersFile is a file in the format of a NATS server's configuration; the
	// users in it, with their permissions and in their accounts, may connect.
	UsersFile string
	// Monitor is the host:port of the server's own pages, /healthz among them.
	// They show who is connected: keep them to the machine. Empty: none.
	Monitor string
	// TLSCert and TLSKey are files and turn on TLS for clients on the socket.
	// With TLSCA clients must present a certificate signed by it.
	TLSCert, TLSKey, TLSCA string
	// Cluster, when set, makes the server one of several. It needs Listen.
	Cluster *Cluster
	// Logger gets the server's warnings and errors; slog.Default() when nil.
	Logger *slog.Logger
}

// Server is a running NATS server.
type Server struct {
	nats *server.Server
	lock *os.File
}

// Start runs a server and returns once it serves clients and JetStream. Its
// errors say what is wrong in one line: a directory that cannot be written or
// that another server holds, a port in use.
func Start(o Options) (*Server, error) {
	opts, err := o.server()
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	s, err := start(opts, o.Logger)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Server{nats: s, lock: lock}, nil
}

func start(opts *server.Options, logger *slog.Logger) (*server.Server, error) {
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	log := newLog(logger)
	s.SetLoggerV2(log, false, false, false)
	s.Start()

	if err := awaitReady(s, log.fatal); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, err
	}
	return s, nil
}

// awaitReady returns when s serves, or what keeps it from serving.
func awaitReady(s *server.Server, fatal <-chan error) error {
	for began := time.Now(); ; {
		// Short, so that a failed start is reported without delay.
		ready := s.ReadyForConnections(50 * time.Millisecond)
		select {
		case err := <-fatal:
			return err
		default:
		}
		switch {
		case ready && s.JetStreamEnabled():
			return nil
		case ready:
			return errors.New("nats: JetStream did not start")
		case time.Since(began) > readyTimeout:
			return fmt.Errorf("nats: not ready after %v", readyTimeout)
		}
	}
}

// server translates o.
func (o Options) server() (*server.Options, error) {
	opts := &server.Options{
		ServerName:             o.Name,
		DontListen:             o.Listen == "",
		JetStream:              true,
		StoreDir:               o.Dir,
		SyncAlways:             true,
		JetStreamMaxMemory:     256 << 20,
		JetStreamMaxStore:      64 << 30,
		DisableJetStreamBanner: true,
		MaxPayload:             MaxPayloadBytes,
		MaxPending:             128 << 20,
		NoSigs:                 true,
		Authorization:          o.Token,
	}
	if o.MaxPayload != 0 {
		opts.MaxPayload = o.MaxPayload
	}
	var err error
	if o.Listen != "" {
		if opts.Host, opts.Port, err = splitListen(o.Listen); err != nil {
			return nil, err
		}
	}
	if o.Monitor != "" {
		if opts.HTTPHost, opts.HTTPPort, err = splitListen(o.Monitor); err != nil {
			return nil, err
		}
	}
	if err := o.users(opts); err != nil {
		return nil, err
	}
	if o.TLSCert != "" {
		if opts.TLSConfig, err = o.tls(o.TLSCA); err != nil {
			return nil, err
		}
		opts.TLS, opts.TLSVerify, opts.TLSTimeout = true, o.TLSCA != "", tlsTimeout
	}
	if o.Cluster != nil {
		return opts, o.cluster(opts)
	}
	return opts, nil
}

// tlsTimeout in seconds, of a handshake.
const tlsTimeout = 5

// tls is the server's certificate and, with ca, that others must have one.
func (o Options) tls(ca string) (*tls.Config, error) {
	c, err := server.GenTLSConfig(&server.TLSConfigOpts{CertFile: o.TLSCert, KeyFile: o.TLSKey, CaFile: ca, Verify: ca != ""})
	if err != nil {
		return nil, fmt.Errorf("nats: tls: %w", err)
	}
	return c, nil
}

func (o Options) users(opts *server.Options) error {
	for _, u := range o.Users {
		opts.Users = append(opts.Users, u.server())
	}
	if o.UsersFile == "" {
		return nil
	}
	file, err := server.ProcessConfigFile(o.UsersFile)
	if err != nil {
		return fmt.Errorf("nats: users: %w", err)
	}
	if len(file.Users)+len(file.Nkeys) == 0 {
		return fmt.Errorf("nats: there are no users in %s", o.UsersFile)
	}
	opts.Users, opts.Nkeys, opts.AuthTimeout = append(opts.Users, file.Users...), file.Nkeys, file.AuthTimeout
	opts.Accounts = file.Accounts
	return nil
}

func (o Options) cluster(opts *server.Options) (err error) {
	// The embedded server opens its cluster port only after a client port.
	if o.Listen == "" {
		return errors.New("nats: a server of a cluster needs an address for clients")
	}
	c := o.Cluster
	opts.Cluster.Name = c.Name
	if opts.Cluster.Host, opts.Cluster.Port, err = splitListen(c.Listen); err != nil {
		return err
	}
	if c.Secret != "" {
		opts.Cluster.Username, opts.Cluster.Password = clusterUser, c.Secret
	}
	if c.TLSCA != "" {
		if opts.Cluster.TLSConfig, err = o.tls(c.TLSCA); err != nil {
			return err
		}
		// A server is a client of those that it connects to.
		opts.Cluster.TLSConfig.RootCAs = opts.Cluster.TLSConfig.ClientCAs
		opts.Cluster.TLSTimeout = tlsTimeout
	}
	opts.Routes, err = c.routes()
	return err
}

// clusterUser is the name under which servers show each other their secret.
const clusterUser = "hangar"

func (c *Cluster) routes() (urls []*url.URL, err error) {
	for _, r := range c.Routes {
		if !strings.Contains(r, "://") {
			r = "nats-route://" + r
		}
		u, err := url.Parse(r)
		if err != nil {
			return nil, fmt.Errorf("nats: route %q: %w", r, err)
		}
		if u.Hostname() == "" || u.Port() == "" {
			return nil, fmt.Errorf("nats: route %q is not host:port", r)
		}
		if c.Secret != "" {
			u.User = url.UserPassword(clusterUser, c.Secret)
		}
		urls = append(urls, u)
	}
	return urls, nil
}

func (u User) server() *server.User {
	su := &server.User{Username: u.Name, Password: u.Password}
	if len(u.Publish)+len(u.Subscribe) == 0 {
		return su
	}
	su.Permissions = &server.Permissions{Response: &server.ResponsePermission{
		MaxMsgs: server.DEFAULT_ALLOW_RESPONSE_MAX_MSGS, Expires: server.DEFAULT_ALLOW_RESPONSE_EXPIRATION,
	}}
	if len(u.Publish) > 0 {
		su.Permissions.Publish = &server.SubjectPermission{Allow: u.Publish}
	}
	if len(u.Subscribe) > 0 {
		su.Permissions.Subscribe = &server.SubjectPermission{Allow: u.Subscribe}
	}
	return su
}

// splitListen reads host:port; the server takes -1, not 0, for any free port.
func splitListen(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("nats: listen address %q: %w", addr, err)
	}
	if port, err = strconv.Atoi(p); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("nats: listen address %q: port must be 0 to 65535", addr)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// lockDir creates dir, checks that it can be written and keeps other servers
// out for as long as the file is open: JetStream itself does not.
func lockDir(dir string) (*os.File, error) {
	if dir == "" {
		return nil, errors.New("nats: no directory for JetStream given")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("nats: data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("nats: data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("nats: data directory %s is in use by another process", dir)
		}
		return nil, fmt.Errorf("nats: locking data directory %s: %w", dir, err)
	}
	return f, nil
}

// ClientURL is where clients on this machine connect; empty without a socket.
func (s *Server) ClientURL() string {
	if s.nats.Addr() == nil {
		return ""
	}
	return s.nats.ClientURL()
}

// InProcess connects without a socket; see rpc.Options.
func (s *Server) InProcess() nats.InProcessConnProvider { return s.nats }

// Shutdown stops the server and returns when all is on disk and released.
func (s *Server) Shutdown() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	_ = s.lock.Close()
}
