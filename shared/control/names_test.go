package control

import (
	"bytes"
	"strings"
	"testing"
)

func TestValidBucketName(t *testing.T) {
	for name, ok := range map[string]bool{
		"abc": true, "a-b": true, "a.b.c": true, "0ab": true, "my-bucket.example.com": true,
		strings.Repeat("a", 63): true,
		"":                      false, "ab": false, strings.Repeat("a", 64): false, "Abc": false, "a_b": false,
		"-abc": false, "abc-": false, ".abc": false, "abc.": false, "a..b": false, "a.-b": false, "a-.b": false,
		"192.168.0.1": false, "xn--abc": false, "abc-s3alias": false, "abc--ol-s3": false, "sthree-x": false,
		"a>b": false, "a*b": false, "a b": false, "bücket": false, "abc\n": false,
	} {
		if err := ValidBucketName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestValidKeyID(t *testing.T) {
	for id, ok := range map[string]bool{
		NewKeyID(): true, "AKIAIOSFODNN7EXAMPLE": true, "with.dots-and_more": true, strings.Repeat("k", 128): true,
		"": false, "short": false, strings.Repeat("k", 129): false, ".leading1": false, "trailing.": false,
		"double..dot": false, "wild*card": false, "wild.>.card": false, "with space": false, "with/slash": false,
	} {
		if err := ValidKeyID(id); (err == nil) != ok {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// Whatever passes for a name must be a literal subject token sequence.
func FuzzNamesAreLiteralKeys(f *testing.F) {
	f.Add("abc")
	f.Add("a.>")
	f.Add("key.*.b")
	f.Fuzz(func(t *testing.T, s string) {
		if ValidBucketName(s) == nil && validRecordKey(keyOfAlias(s)) != nil {
			t.Errorf("bucket name %q is no key", s)
		}
		if ValidKeyID(s) == nil && validRecordKey(keyOfKey(s)) != nil {
			t.Errorf("key id %q is no key", s)
		}
		if validRecordKey(s) == nil && strings.ContainsAny(s, "*> \t\r\n") {
			t.Errorf("record key %q has a wildcard", s)
		}
	})
}

func FuzzRecords(f *testing.F) {
	f.Add("key.abcdefgh", []byte(`{"format":1,"data":{"id":"abcdefgh"}}`))
	f.Add("bucket.00000000000000000000000000000000", []byte(`{"format":1,"data":null}`))
	f.Add("layout", []byte(`{"format":1,"data":{"meta":{"nodes":null}}}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		s := newState(quiet)
		s.apply(key, value, false, 1)
		v := s.snapshot(emptyView())
		v.Buckets()
		v.BucketsOf("abcdefgh")
		v.Resolve(v.Key("abcdefgh"), "x")
	})
}

func FuzzReadExport(f *testing.F) {
	f.Add([]byte(`{"format":1,"revision":0,"records":0,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		lines, err := readExport(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, l := range lines {
			if validRecordKey(l.Key) != nil {
				t.Errorf("key %q", l.Key)
			}
		}
	})
}
