package workload

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// A value is the name of a content: "CLIENT-NUMBER-SIZE". Its content begins
// with the name and a line feed and goes on with bytes that follow from it, so
// that a mix of two contents, or a part of one, is neither.

func valueName(client, number, size int) string {
	return fmt.Sprintf("%d-%d-%d", client, number, size)
}

// contentOf returns the content that a value names, nil if it names none.
func contentOf(value string) []byte {
	size, err := strconv.Atoi(value[strings.LastIndexByte(value, '-')+1:])
	if err != nil || size > 64<<20 {
		return nil
	}
	b := make([]byte, max(size, len(value)+1))
	n := copy(b, value+"\n")
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(value))).Read(b[n:]) // never fails
	return b
}

func etagOf(value string) string {
	sum := md5.Sum(contentOf(value))
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// valueIn names the content that b is, whole; an error says what b is instead.
func valueIn(b []byte) (string, error) {
	name, _, ok := bytes.Cut(b, []byte("\n"))
	if !ok || len(name) > 64 {
		return "", fmt.Errorf("%d bytes that begin with %.40q and that nobody wrote", len(b), b)
	}
	want := contentOf(string(name))
	if bytes.Equal(want, b) {
		return string(name), nil
	}
	same := 0
	for same < min(len(want), len(b)) && want[same] == b[same] {
		same++
	}
	return "", fmt.Errorf("%d bytes that begin as the %d bytes of %s and differ from byte %d on", len(b), len(want), name, same)
}
