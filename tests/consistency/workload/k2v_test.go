package workload

import (
	"encoding/base64"
	"slices"
	"testing"

	"hangar/tests/consistency/check"
)

// TestItemsAreNamed: what an item holds is taken for what was written whole, or
// for nothing.
func TestItemsAreNamed(t *testing.T) {
	text := func(b []byte) *string {
		s := base64.StdEncoding.EncodeToString(b)
		return &s
	}
	a, b := valueName(1, 2, 300), valueName(3, 4, 0)
	got, err := named("p|s", wireItem{Token: "t", Values: []*string{text(contentOf(a)), nil, text(contentOf(b))}})
	if err != nil || got.Key != "p|s" || got.Token != "t" || !slices.Equal(got.Values, []string{a, check.Tombstone, b}) {
		t.Errorf("%+v, %v", got, err)
	}
	other := "no base64"
	for what, wrong := range map[string]wireItem{
		"no token":         {Values: []*string{text(contentOf(a))}},
		"no values":        {Token: "t"},
		"not base64":       {Token: "t", Values: []*string{&other}},
		"cut short":        {Token: "t", Values: []*string{text(contentOf(a)[:299])}},
		"nobody wrote it":  {Token: "t", Values: []*string{text([]byte("a\n"))}},
		"one of two mixed": {Token: "t", Values: []*string{text(contentOf(b)), text(append(contentOf(a), 0))}},
	} {
		if got, err := named("p|s", wrong); err == nil {
			t.Errorf("%s: taken for %+v", what, got)
		}
	}
}

// TestIndexIsCounted: what the index must say of items.
func TestIndexIsCounted(t *testing.T) {
	var e indexEntry
	for _, values := range [][]string{
		{valueName(1, 1, 300)},
		{valueName(1, 2, 10), valueName(1, 3, 20)},
		{valueName(1, 4, 30), check.Tombstone},
		{check.Tombstone},
	} {
		e = counted(e, "p", check.Item{Values: values})
	}
	if want := (indexEntry{Partition: "p", Entries: 3, Conflicts: 2, Values: 4, Bytes: 360}); e != want {
		t.Errorf("%+v, want %+v", e, want)
	}
}
