package work

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"hangar/shared/fault"
)

// memoryFormat is the version of the file's form; docs/format/work.md describes
// it.
const memoryFormat = 1

// maxMemoryBytes of a file that is believed.
const maxMemoryBytes = 1 << 20

// memory is what a Set keeps across restarts, in one small file that is replaced
// as a whole. What it does not know it keeps as well: a worker may be of another
// version.
type memory struct {
	path string // empty: it lasts as long as the process

	mu   sync.Mutex
	kept kept // guarded by mu
}

// kept is the form of the file.
type kept struct {
	Format    int                 `json:"format"`
	Variables map[string]string   `json:"variables,omitempty"`
	Tasks     map[string]keptTask `json:"tasks,omitempty"`
}

// keptTask is what is kept of a task.
type keptTask struct {
	// Running is a run that was begun and has neither ended nor been cancelled.
	Running bool `json:"running,omitempty"`
	// PausedUntil is set while the run is paused.
	PausedUntil time.Time `json:"pausedUntil,omitzero"`
	// Cursor is how far the run has come, or came in the end.
	Cursor   []byte `json:"cursor,omitempty"`
	Progress string `json:"progress,omitempty"`
	// Begun and Ended are of the last run; Ended is of the last that came to its
	// end.
	Begun time.Time `json:"begun,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
	// Next is when a task with a schedule begins by itself.
	Next time.Time `json:"next,omitzero"`
}

func openMemory(path string, log *slog.Logger) *memory {
	m := &memory{path: path, kept: kept{Format: memoryFormat}}
	if path != "" {
		if err := m.read(); err != nil {
			log.Error("variables and tasks begin anew", slog.Any("error", err))
			m.kept = kept{Format: memoryFormat}
		}
	}
	if m.kept.Variables == nil {
		m.kept.Variables = make(map[string]string)
	}
	if m.kept.Tasks == nil {
		m.kept.Tasks = make(map[string]keptTask)
	}
	return m
}

func (m *memory) read() error {
	st, err := os.Stat(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && (!st.Mode().IsRegular() || st.Size() > maxMemoryBytes) {
		return fault.New(fault.Corrupt, "%s is not of this program", m.path)
	}
	text, err := os.ReadFile(m.path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &m.kept); err != nil {
		return fmt.Errorf("%s: %w", m.path, err)
	}
	if m.kept.Format != memoryFormat {
		return fault.New(fault.Invalid, "%s is of the unknown format %d", m.path, m.kept.Format)
	}
	return nil
}

func (m *memory) variable(name string) (value string, kept bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, kept = m.kept.Variables[name]
	return value, kept
}

// setVariable is durable when it returns nil; else nothing is changed.
func (m *memory) setVariable(name, value string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return replace(m, m.kept.Variables, name, value)
}

func (m *memory) task(name string) keptTask {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept.Tasks[name]
}

// setTask is durable when it returns nil; else nothing is changed.
func (m *memory) setTask(name string, t keptTask) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return replace(m, m.kept.Tasks, name, t)
}

// replace changes an entry and writes the file. The caller holds mu.
func replace[V any](m *memory, entries map[string]V, name string, v V) error {
	before, was := entries[name]
	entries[name] = v
	if m.path == "" {
		return nil
	}
	if err := m.write(); err != nil {
		if entries[name] = before; !was {
			delete(entries, name)
		}
		return fault.Wrap(fault.StorageFull, err, "%s cannot be kept", name)
	}
	return nil
}

// write puts a new file in the place of the old one, durably.
func (m *memory) write() error {
	text, err := json.MarshalIndent(m.kept, "", "\t")
	if err != nil {
		return err
	}
	dir := filepath.Dir(m.path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(m.path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), m.path); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
