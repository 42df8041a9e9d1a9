// Package certificate is a server's certificate in files that may be replaced
// while it runs.
package certificate

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// lookEvery is how often the files are looked at, at most.
const lookEvery = 10 * time.Second

// Files are a certificate and its key, in PEM.
type Files struct {
	Cert, Key string
	// Setting names what the operator set, for errors.
	Setting string
	// Log gets what is wrong with files that were replaced; nil means
	// slog.Default.
	Log *slog.Logger
}

// Validate reports settings of which only one is there.
func (f Files) Validate() error {
	if (f.Cert == "") != (f.Key == "") {
		return fmt.Errorf("%[1]s_CERT and %[1]s_KEY go together: set both or none", f.Setting)
	}
	return nil
}

// Server returns what a server of TLS needs, nil when no files are set. The
// files are read now; replaced ones are taken up within some seconds, and as
// long as they are not a certificate with its key the last good ones hold.
func (f Files) Server() (*tls.Config, error) {
	if f.Cert == "" {
		return nil, nil
	}
	s, err := f.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{GetCertificate: s.get, MinVersion: tls.VersionTLS12}, nil
}

// Listen makes l speak TLS if files are set.
func (f Files) Listen(l net.Listener) (net.Listener, error) {
	conf, err := f.Server()
	if conf == nil || err != nil {
		return l, err
	}
	return tls.NewListener(l, conf), nil
}

func (f Files) load() (*source, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("%[1]s_CERT, %[1]s_KEY: %[2]w", f.Setting, err)
	}
	return &source{files: f, pair: &pair, of: f.stamp(), looked: time.Now()}, nil
}

// stamp tells versions of the files apart.
func (f Files) stamp() (s [2]time.Time) {
	for i, name := range []string{f.Cert, f.Key} {
		if st, err := os.Stat(name); err == nil {
			s[i] = st.ModTime()
		}
	}
	return s
}

// source holds the newest good pair.
type source struct {
	files Files

	mu     sync.Mutex
	pair   *tls.Certificate // guarded by mu
	of     [2]time.Time     // guarded by mu: of the files last read
	looked time.Time        // guarded by mu
}

func (s *source) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.looked) >= lookEvery {
		s.looked = time.Now()
		s.refresh()
	}
	return s.pair, nil
}

// refresh reads the files again if they have changed. The caller holds mu.
func (s *source) refresh() {
	now := s.files.stamp()
	if now == s.of {
		return
	}
	log := s.files.Log
	if log == nil {
		log = slog.Default()
	}
	pair, err := tls.LoadX509KeyPair(s.files.Cert, s.files.Key)
	if err != nil {
		log.Warn("the new certificate cannot be used yet", "cert", s.files.Cert, "error", err)
		return
	}
	s.pair, s.of = &pair, now
	log.Info("a new certificate is in use", "cert", s.files.Cert, "until", pair.Leaf.NotAfter)
}
