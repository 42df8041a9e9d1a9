package check

import (
	"fmt"
	"strings"
	"time"
)

// life is what is known of a key that is put once and deleted at most once.
type life struct {
	put, del *Op
}

// Listings checks every listing against the puts and deletes of keys that are
// each put once: a put acknowledged before the listing began is in it unless a
// delete may have begun before the listing ended; what was never put, or whose
// delete was acknowledged before the listing began, is not. Common prefixes are
// there when one of their keys is.
func Listings(history []Op) Result {
	lives := map[string]*life{}
	var r Result
	for i := range history {
		o := &history[i]
		if !o.writes() || o.Verdict == Refused {
			continue
		}
		l := lives[o.Key]
		if l == nil {
			l = &life{}
			lives[o.Key] = l
		}
		r.Checked++
		switch {
		case o.Verb == Put && l.put == nil:
			l.put = o
		case o.Verb == Delete && l.del == nil:
			l.del = o
		default:
			r.Violations = append(r.Violations, fmt.Sprintf("the test is wrong: %s is written twice", o.Key))
		}
	}
	for i := range history {
		if o := &history[i]; o.Verb == List && o.Verdict == Done {
			r.Checked++
			r.Violations = append(r.Violations, listing(o, lives)...)
		}
	}
	return r
}

// listing checks one.
func listing(o *Op, lives map[string]*life) (wrong []string) {
	must, may := map[string]string{}, map[string]bool{} // must: why
	for key, l := range lives {
		if !strings.HasPrefix(key, o.Key) {
			continue
		}
		name := shown(o, key)
		if l.mayBeIn(o) {
			may[name] = true
		}
		if l.mustBeIn(o) {
			must[name] = key
		}
	}
	seen := map[string]bool{}
	last := ""
	for _, name := range o.Keys {
		seen[name] = true
		if name <= last {
			wrong = append(wrong, fmt.Sprintf("listing of %s by client %d at %v: %s comes after %s", o.Key, o.Client, o.Call, name, last))
		}
		last = name
		if !may[name] {
			wrong = append(wrong, fmt.Sprintf("listing of %s by client %d from %v to %v shows %s, which was never put or surely deleted before%s",
				o.Key, o.Client, o.Call, o.Return, name, lives[name]))
		}
	}
	for name, key := range must {
		if !seen[name] {
			wrong = append(wrong, fmt.Sprintf("listing of %s by client %d via gateway %d from %v to %v lacks %s%s", o.Key, o.Client, o.Via, o.Call, o.Return, name, lives[key]))
		}
	}
	return wrong
}

// shown is how a key appears in a listing.
func shown(o *Op, key string) string {
	if rest := key[len(o.Key):]; o.Delimited {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			return key[:len(o.Key)+i+1]
		}
	}
	return key
}

func (l *life) mustBeIn(o *Op) bool {
	return l.put != nil && l.put.Verdict == Done && l.put.Return < o.Call && (l.del == nil || l.del.Call > o.Return)
}

func (l *life) mayBeIn(o *Op) bool {
	if l.put == nil || l.put.Call > o.Return {
		return false
	}
	// A put of unknown fate may still come after a delete.
	gone := l.del != nil && l.del.Verdict == Done && l.del.Return < o.Call && l.put.Verdict == Done && l.put.Return < l.del.Call
	return !gone
}

// String says what is known of a key.
func (l *life) String() string {
	if l == nil {
		return ""
	}
	s := ""
	for _, o := range []*Op{l.put, l.del} {
		if o != nil {
			s += fmt.Sprintf("; %s %v to %v by client %d via gateway %d: %s %s", o.Verb, o.Call.Round(time.Microsecond), o.Return.Round(time.Microsecond), o.Client, o.Via, o.Verdict, o.Note)
		}
	}
	return s
}
