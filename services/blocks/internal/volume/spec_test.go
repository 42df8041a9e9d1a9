package volume

import (
	"reflect"
	"strings"
	"testing"

	"hangar/shared/fault"
)

func TestParse(t *testing.T) {
	got, err := Parse(" main=500GB, /mnt/a=2TB,/mnt/b/ ,/mnt/c=1.5TiB,/mnt/x=y=ro,/mnt/dead=lost")
	want := []Spec{
		{Path: Main, CapacityBytes: 500e9}, {Path: "/mnt/a", CapacityBytes: 2e12}, {Path: "/mnt/b"},
		{Path: "/mnt/c", CapacityBytes: 3 << 39}, {Path: "/mnt/x=y", Use: Drain}, {Path: "/mnt/dead", Use: Lost},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err := Parse(""); got != nil || err != nil {
		t.Fatal(got, err)
	}
}

// Every mistake is refused with a message that says what to do.
func TestParseSaysWhatToDo(t *testing.T) {
	for text, advice := range map[string]string{
		"/mnt/a=2XB":                "unknown unit: use MB",
		"/mnt/a=2":                  "unknown unit: use MB",
		"/mnt/a=much":               "write 500GB",
		"/mnt/a=-1TB":               "write 500GB",
		"/mnt/a=NaNTB":              "write 500GB",
		"/mnt/a=99999PB":            "no capacity of a disk",
		"/mnt/a=":                   "leave = out",
		"/mnt/a=RO":                 "write 500GB",
		"mnt/a=2TB":                 "no absolute path",
		"/mnt/a,":                   "no absolute path",
		"/mnt/a=1TB,/mnt/b,/mnt/a/": "listed twice",
		"/mnt/a,/mnt/a/b":           "beside each other",
		"/mnt/a/b,/mnt/a":           "beside each other",
		"/,/mnt":                    "beside each other",
		"main=lost":                 "new node",
		"/mnt/a" + strings.Repeat(",/mnt/a", 300): "more than 256",
	} {
		if _, err := Parse(text); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), advice) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	if _, err := Parse("/mnt/a,/mnt/ab"); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/mnt/a=2TB,/mnt/b,/mnt/old=ro")
	f.Fuzz(func(t *testing.T, text string) {
		specs, err := Parse(text)
		if err != nil && specs != nil {
			t.Fatal("a list beside an error")
		}
		for _, s := range specs {
			if s.CapacityBytes < 0 || s.Path != Main && !strings.HasPrefix(s.Path, "/") {
				t.Fatalf("%+v", s)
			}
		}
	})
}
