package control

import (
	"context"
	"slices"
	"time"
)

// LayoutStatus is what became of a layout.
type LayoutStatus string

// What becomes of layouts.
const (
	// LayoutChanging: data is on its way to where it wants it.
	LayoutChanging LayoutStatus = "changing"
	LayoutCurrent  LayoutStatus = "current"
	// LayoutHistorical: a later one took its place.
	LayoutHistorical LayoutStatus = "historical"
	// LayoutAborted: taken back before it was in place.
	LayoutAborted LayoutStatus = "aborted"
)

// maxHistory bounds how many layouts are remembered, maxHistoryRoles how many
// roles they have in all: a record must fit one message.
const (
	maxHistory      = 10
	maxHistoryRoles = 4096
)

// PastLayout is a layout without where everything lay.
type PastLayout struct {
	Version uint64 `json:"version"`
	// At is when it was applied, by the clock of the admin process.
	At             time.Time    `json:"at"`
	Status         LayoutStatus `json:"status"`
	ZoneRedundancy int          `json:"zoneRedundancy"`
	Roles          []Role       `json:"roles"`
}

// History holds the last layouts, oldest first. It is for people: nothing is
// decided by it.
type History struct {
	Layouts []PastLayout `json:"layouts"`
}

// note brings the history up to the layout in force. It is idempotent, and
// finds out what a process missed that died before it noted its own change,
// except for a layout that was replaced meanwhile.
func (h *History) note(l *Layout, now time.Time) error {
	before := slices.Clone(h.Layouts)
	for i := range h.Layouts {
		p := &h.Layouts[i]
		switch {
		case p.Version > l.Version: // noted by somebody who knows more
			return errUnchanged
		case p.Version == l.Version:
		case p.Version == l.AbortedVersion:
			p.Status = LayoutAborted
		case p.Status != LayoutAborted:
			p.Status = LayoutHistorical
		}
	}
	status := LayoutCurrent
	if l.Change != nil {
		status = LayoutChanging
	}
	if n := len(h.Layouts); n > 0 && h.Layouts[n-1].Version == l.Version {
		if h.Layouts[n-1].Status == LayoutChanging { // never back from current
			h.Layouts[n-1].Status = status
		}
	} else {
		h.Layouts = append(h.Layouts, PastLayout{l.Version, now.UTC(), status, l.ZoneRedundancy, l.Roles})
	}
	h.Layouts = h.Layouts[max(0, len(h.Layouts)-maxHistory):]
	for h.roles() > maxHistoryRoles && len(h.Layouts) > 1 {
		h.Layouts = h.Layouts[1:]
	}
	same := func(a, b PastLayout) bool { return a.Version == b.Version && a.Status == b.Status }
	if slices.EqualFunc(before, h.Layouts, same) {
		return errUnchanged
	}
	return nil
}

// PastLayouts returns the layouts so far, oldest first, the one in force among
// them even before anybody has noted it: then it is of now.
func (v *View) PastLayouts(now time.Time) []PastLayout {
	var h History
	if v.History != nil {
		h.Layouts = slices.Clone(v.History.Layouts)
	}
	if v.Layout != nil && h.note(v.Layout, now) != nil {
		return v.History.Layouts // nothing is missing
	}
	return h.Layouts
}

// Last returns the newest layout noted, nil when there is none.
func (h *History) Last() *PastLayout {
	if h == nil || len(h.Layouts) == 0 {
		return nil
	}
	return &h.Layouts[len(h.Layouts)-1]
}

func (h *History) roles() (n int) {
	for _, p := range h.Layouts {
		n += len(p.Roles)
	}
	return n
}

// NoteLayout brings the history up to the layout l. It may be repeated.
func (s *Store) NoteLayout(ctx context.Context, l *Layout, now time.Time) (Revision, error) {
	_, rev, err := upsert(ctx, s, keyHistory, func(h *History) error { return h.note(l, now) })
	return rev, err
}
