package checksum

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

// The check values of the CRC catalogue (https://reveng.sourceforge.io/crc-catalogue/)
// and of FIPS 180, for "123456789".
func TestCheckValues(t *testing.T) {
	for a, want := range map[Algorithm]string{
		CRC32:     "cbf43926",
		CRC32C:    "e3069283",
		CRC64NVME: "ae8b14860a799888",
		SHA1:      "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
		SHA256:    "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
	} {
		h := a.New()
		h.Write([]byte("123456789"))
		got := h.Sum(nil)
		if hex.EncodeToString(got) != want || len(got) != a.Size() {
			t.Errorf("%s: %x, want %s", a, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, a := range Algorithms {
		if got, ok := Parse(strings.ToLower(string(a))); !ok || got != a {
			t.Errorf("Parse: %s, %v", got, ok)
		}
		if got, ok := FromHeader(strings.ToUpper(a.Header())); !ok || got != a {
			t.Errorf("FromHeader: %s, %v", got, ok)
		}
	}
	for _, name := range []string{"", "MD5", "CRC-32"} {
		if a, ok := Parse(name); ok {
			t.Errorf("Parse(%q) is %s", name, a)
		}
		if a, ok := FromHeader("x-amz-checksum-" + name); ok {
			t.Errorf("FromHeader(%q) is %s", name, a)
		}
	}
	if Algorithm("MD5").Size() != 0 || Algorithm("MD5").Header() != "" {
		t.Error("MD5 is not one of them")
	}
}

func TestText(t *testing.T) {
	for _, a := range Algorithms {
		value := bytes.Repeat([]byte{0xfb}, a.Size())
		text := Encode(value)
		if got, err := Decode(a, text); err != nil || !bytes.Equal(got, value) {
			t.Errorf("%s: %x, %v", a, got, err)
		}
		for _, bad := range []string{"", text + "=", text[1:], strings.ReplaceAll(text, "+", "-"), text[:len(text)-1] + "\n",
			base64.StdEncoding.EncodeToString(value[1:]), hex.EncodeToString(value)} {
			if _, err := Decode(a, bad); err == nil {
				t.Errorf("%s: %q passed", a, bad)
			}
		}
		for _, n := range []int{1, 17, MaxParts} {
			got, parts, err := ParseComposite(a, FormatComposite(value, n))
			if err != nil || parts != n || !bytes.Equal(got, value) {
				t.Errorf("%s-%d: %x-%d, %v", a, n, got, parts, err)
			}
		}
		if _, n, err := ParseComposite(a, text); err != nil || n != 0 {
			t.Errorf("%s without parts: %d, %v", a, n, err)
		}
		for _, bad := range []string{text + "-", text + "-0", text + "-01", text + "-+1", text + "--1", text + "-10001", "-1", text + "-1-1"} {
			if _, _, err := ParseComposite(a, bad); err == nil {
				t.Errorf("%s: %q passed", a, bad)
			}
		}
	}
	if _, err := Decode("MD5", ""); err == nil {
		t.Error("MD5 passed")
	}
}

func sum(a Algorithm, data []byte) []byte {
	h := a.New()
	h.Write(data)
	return h.Sum(nil)
}

func TestCombine(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	whole := make([]byte, 100_000)
	for i := range whole {
		whole[i] = byte(rnd.Uint32())
	}
	for _, a := range Algorithms {
		if !a.Combines() {
			if _, err := Combine(a, nil); err == nil {
				t.Errorf("%s combines", a)
			}
			continue
		}
		for range 200 {
			data := whole[:rnd.IntN(len(whole))]
			var parts []Part
			for rest := data; len(rest) > 0; {
				n := rnd.IntN(len(rest) + 1)
				if rnd.IntN(2) == 0 {
					n = min(1000, len(rest)) // parts of one size
				}
				parts = append(parts, Part{int64(n), sum(a, rest[:n])})
				rest = rest[n:]
			}
			got, err := Combine(a, parts)
			if err != nil || !bytes.Equal(got, sum(a, data)) {
				t.Fatalf("%s of %d parts: %x, want %x, %v", a, len(parts), got, sum(a, data), err)
			}
		}
		for _, bad := range []Part{{Size: 1, Value: []byte{1}}, {Size: -1, Value: make([]byte, a.Size())}} {
			if _, err := Combine(a, []Part{bad}); err == nil {
				t.Errorf("%s: %v passed", a, bad)
			}
		}
	}
}

func TestComposite(t *testing.T) {
	for _, a := range Algorithms {
		one, two := sum(a, []byte("one")), sum(a, []byte("two"))
		got, err := Composite(a, []Part{{3, one}, {3, two}})
		if want := sum(a, append(bytes.Clone(one), two...)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x, %v", a, got, want, err)
		}
		if _, err := Composite(a, []Part{{3, one[1:]}}); err == nil {
			t.Errorf("%s: a short value passed", a)
		}
	}
}

func FuzzParseComposite(f *testing.F) {
	f.Add("sOO8/Q==-2")
	f.Add("sOO8/Q==")
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range Algorithms {
			value, n, err := ParseComposite(a, text)
			if err != nil {
				continue
			}
			again := Encode(value)
			if n > 0 {
				again = FormatComposite(value, n)
			}
			if again != text {
				t.Fatalf("%q reads as %q", text, again)
			}
		}
	})
}

func BenchmarkCombine(b *testing.B) {
	for _, a := range []Algorithm{CRC32C, CRC64NVME} {
		b.Run(string(a), func(b *testing.B) {
			parts := make([]Part, MaxParts)
			for i := range parts {
				parts[i] = Part{8<<20 + int64(i%2), make([]byte, a.Size())} // no two neighbours alike
			}
			for b.Loop() {
				if _, err := Combine(a, parts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
