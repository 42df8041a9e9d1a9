package control

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"hangar/shared/fault"
)

// An export is text: a header line in JSON with the format, the revision, the
// number of records and the SHA-256 of all that follows; then one line per
// record, sorted by key. It holds secrets.
const exportFormat = 1

// maxExportLine bounds a record line: a record fits one message.
const maxExportLine = 16 << 20

type exportHeader struct {
	Format   int      `json:"format"`
	Revision Revision `json:"revision"`
	Records  int      `json:"records"`
	SHA256   string   `json:"sha256"`
}

type exportLine struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// Export writes the mirror's records to a file with mode 0600, readable by its
// owner only: it holds secrets. The file is replaced atomically, and durable
// when Export returns.
func (m *Mirror) Export(path string) error {
	m.mu.Lock()
	if m.state == nil {
		m.mu.Unlock()
		return fault.New(fault.Unavailable, "the control mirror has not caught up yet")
	}
	revision := m.state.revision
	lines := make([]exportLine, 0, len(m.state.raw))
	for key, e := range m.state.raw {
		if !e.marker {
			lines = append(lines, exportLine{key, e.value})
		}
	}
	m.mu.Unlock()

	slices.SortFunc(lines, func(a, b exportLine) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) })
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return fault.Wrap(fault.Internal, err, "export control record %q", l.Key)
		}
	}
	sum := sha256.Sum256(body.Bytes())
	head, err := json.Marshal(exportHeader{exportFormat, revision, len(lines), hex.EncodeToString(sum[:])})
	if err != nil {
		return fault.Wrap(fault.Internal, err, "export control state")
	}
	return fault.Wrap(fault.Internal, replaceFile(path, append(head, '\n'), body.Bytes()), "export control state")
}

// replaceFile makes path hold the parts, or leaves it as it was.
func replaceFile(path string, parts ...[]byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	for _, p := range parts {
		if _, err = f.Write(p); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err = errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("renamed but not synced: %w", err)
	}
	defer d.Close()
	if e := d.Sync(); e != nil {
		return fmt.Errorf("renamed but not synced: %w", e)
	}
	return nil
}

// keepPersisted exports after changes, at most once per persistInterval, and
// at the end.
func (m *Mirror) keepPersisted(ctx context.Context) error {
	var saved *View
	save := func() error {
		v := m.View()
		if v.Revision == 0 || v == saved {
			return nil
		}
		if err := m.Export(m.persist); err != nil {
			return err
		}
		saved = v
		return nil
	}
	for ctx.Err() == nil {
		next := m.Updated()
		if err := save(); err != nil {
			m.log.ErrorContext(ctx, "control mirror not persisted", "file", m.persist, "error", err)
		}
		select {
		case <-next:
		case <-ctx.Done():
		}
		select {
		case <-time.After(persistInterval):
		case <-ctx.Done():
		}
	}
	return save()
}

// readExport reads and verifies an export.
func readExport(r io.Reader) ([]exportLine, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	first, err := br.ReadBytes('\n')
	if err != nil {
		return nil, fault.Wrap(fault.Corrupt, err, "export header")
	}
	var head exportHeader
	if err := json.Unmarshal(first, &head); err != nil {
		return nil, fault.Wrap(fault.Corrupt, err, "export header")
	}
	if head.Format != exportFormat {
		return nil, fault.New(fault.NotImplemented, "export of format %d, known is %d", head.Format, exportFormat)
	}
	sum := sha256.New()
	lines := bufio.NewScanner(io.TeeReader(br, sum))
	lines.Buffer(nil, maxExportLine)
	var out []exportLine
	for lines.Scan() {
		var l exportLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, fault.Wrap(fault.Corrupt, err, "export record %d", len(out)+1)
		}
		if err := validRecordKey(l.Key); err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	if err := lines.Err(); err != nil {
		return nil, fault.Wrap(fault.Corrupt, err, "export record %d", len(out)+1)
	}
	if len(out) != head.Records || hex.EncodeToString(sum.Sum(nil)) != head.SHA256 {
		return nil, fault.New(fault.Corrupt, "the export is damaged or cut short: its checksum does not match")
	}
	return out, nil
}

// Restore writes an export into the control stream, every record or an error.
// A stream that holds any record is refused with AlreadyExists unless force is
// set: then its content is dropped first. An interrupted Restore is repeated
// with force. No other process may write meanwhile.
func (s *Store) Restore(ctx context.Context, r io.Reader, force bool) (Revision, error) {
	lines, err := readExport(r) // wholly, before anything is touched
	if err != nil {
		return 0, err
	}
	info, err := s.stream.Info(ctx)
	if err != nil {
		return 0, unavailable(err)
	}
	if info.State.Msgs > 0 {
		if !force {
			return 0, fault.New(fault.AlreadyExists, "the control stream holds %d records; restoring would replace them", info.State.Msgs)
		}
		if err := s.stream.Purge(ctx); err != nil {
			return 0, fault.Wrap(fault.Indeterminate, err, "empty the control stream")
		}
	}
	var rev Revision
	for _, l := range lines {
		if rev, err = s.write(ctx, l.Key, entry{value: l.Value}, 0); err != nil {
			return 0, fault.Wrap(fault.KindOf(err), err, "restore %q", l.Key)
		}
	}
	return rev, nil
}
