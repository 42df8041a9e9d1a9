package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"hangar/client/k2v"
	"hangar/tests/harness"
)

// hangarK2V prepares `hangar k2v` on a server's data directory.
func hangarK2V(ctx context.Context, t *testing.T, s *harness.Server, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, harness.Bin(t, "hangar"), append([]string{"k2v", "--data", s.Dir}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "AWS_") && !strings.HasPrefix(e, "HANGAR_K2V") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	return cmd
}

// k2vOutput runs `hangar k2v` and returns what it prints.
func k2vOutput(t *testing.T, s *harness.Server, stdin string, args ...string) string {
	t.Helper()
	var errs bytes.Buffer
	cmd := hangarK2V(t.Context(), t, s, args...)
	cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("hangar k2v %s: %v: %s", strings.Join(args, " "), err, &errs)
	}
	return string(out)
}

func TestK2VCommandTakesValuesAsTheyAre(t *testing.T) {
	s := sharedServer(t)
	bucket := newBucket(t, s)
	value := string(content(9, 70_000)) + "\x00\n"
	k2vOutput(t, s, value, "insert", bucket, "p", "stdin", "--file", "-")
	file := filepath.Join(t.TempDir(), "value")
	writeFile(t, file, []byte(value))
	k2vOutput(t, s, "", "insert", bucket, "p", "file", "--file", file)
	for _, sort := range []string{"stdin", "file"} {
		if got := k2vOutput(t, s, "", "get", bucket, "p", sort, "--raw"); got != value {
			t.Errorf("%s: %d bytes came back of %d", sort, len(got), len(value))
		}
	}
}

var tokens = regexp.MustCompile(`"ct":"[^"]*",`)

// TestK2VCommandSavesAndRestores dumps a bucket with everything that an item may
// be, loads it into another one, is killed while it does, and goes on.
func TestK2VCommandSavesAndRestores(t *testing.T) {
	s := sharedServer(t)
	from, to := newBucket(t, s), newBucket(t, s)
	c := k2vClientOf(t, s, from)
	ctx := testContext(t, 2*time.Minute)
	var batch []k2v.Insert
	for i := range 3000 {
		batch = append(batch, k2v.Insert{PartitionKey: fmt.Sprint("partition ", i%7), SortKey: fmt.Sprintf("%05d\n", i), Value: content(uint64(i), i%900)})
	}
	for _, v := range []string{"one", "two", ""} {
		batch = append(batch, k2v.Insert{PartitionKey: "odd", SortKey: "conflict", Value: []byte(v)})
	}
	batch = append(batch, k2v.Insert{PartitionKey: "odd", SortKey: "conflict", Delete: true},
		k2v.Insert{PartitionKey: "odd", SortKey: "deleted", Delete: true})
	must(t, c.InsertBatch(ctx, batch))

	file := filepath.Join(t.TempDir(), "dump.jsonl")
	k2vOutput(t, s, "", "dump", from, "--output", file)
	saved, err := os.ReadFile(file)
	must(t, err)
	if n := bytes.Count(saved, []byte("\n")); n != 3001 {
		t.Fatalf("saved %d lines", n)
	}
	if left, err := filepath.Glob(file + ".*"); err != nil || left != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}

	// The pipe ends in the middle, and the command is killed.
	half := hangarK2V(ctx, t, s, "load", to, "-")
	in, err := half.StdinPipe()
	must(t, err)
	must(t, half.Start())
	_, err = in.Write(saved[:len(saved)/2])
	must(t, err)
	for n := 0; n < 500; { // it has begun to write
		n = 0
		for p, err := range k2vClientOf(t, s, to).Partitions(ctx, k2v.IndexQuery{}) {
			must(t, err)
			n += int(p.Entries)
		}
	}
	must(t, half.Process.Kill())
	_ = half.Wait() // it was killed

	var told struct{ Items, Written, Present int }
	must(t, json.Unmarshal([]byte(k2vOutput(t, s, "", "load", to, file, "--json")), &told))
	if told.Items != 3001 || told.Present < 500 || told.Written+told.Present != 3004 {
		t.Errorf("the second load says %+v", told)
	}
	again := k2vOutput(t, s, "", "load", to, file, "--json")
	must(t, json.Unmarshal([]byte(again), &told))
	if told.Written != 0 || told.Present != 3004 {
		t.Errorf("the third load says %+v", told)
	}
	restored := k2vOutput(t, s, "", "dump", to)
	if strip := func(s string) string { return tokens.ReplaceAllString(s, "") }; strip(restored) != strip(string(saved)) {
		t.Error("what was restored is not what was saved")
	}
}

// TestK2VCommandFollows follows a partition and an item over a restart of the
// server, and ends well when it is interrupted.
func TestK2VCommandFollows(t *testing.T) {
	s := harness.Start(t)
	c := k2vClientOf(t, s, harness.Bucket)
	ctx := testContext(t, 2*time.Minute)
	must(t, c.InsertItem(ctx, "p", "s", "", []byte("0")))
	follow := func(args ...string) (*exec.Cmd, *bufio.Reader) {
		cmd := hangarK2V(ctx, t, s, append([]string{"poll", harness.Bucket, "p", "--follow", "--json"}, args...)...)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		return cmd, bufio.NewReader(out)
	}
	// expect reads until the item has a value.
	expect := func(lines *bufio.Reader, want string) {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			if strings.Contains(line, base64.StdEncoding.EncodeToString([]byte(want))) {
				return
			}
		}
	}
	item, itemLines := follow("s")
	partition, partitionLines := follow()
	set := func(v string) {
		t.Helper()
		write(t, func() error {
			return c.Update(ctx, "p", "s", func([][]byte) ([]byte, error) { return []byte(v), nil })
		})
		expect(itemLines, v)
		expect(partitionLines, v)
	}
	expect(itemLines, "0")
	expect(partitionLines, "0")
	set("before the restart")
	s.Kill()
	s.Restart()
	set("after the restart")
	for _, cmd := range []*exec.Cmd{item, partition} {
		must(t, cmd.Process.Signal(syscall.SIGINT))
	}
	for _, lines := range []*bufio.Reader{itemLines, partitionLines} {
		_, err := io.Copy(io.Discard, lines)
		must(t, err)
	}
	for _, cmd := range []*exec.Cmd{item, partition} {
		if err := cmd.Wait(); err != nil {
			t.Errorf("interrupted: %v", err)
		}
	}
}

// TestK2VCommandSaysWhereItLooked: no server, and no key.
func TestK2VCommandSaysWhereItLooked(t *testing.T) {
	s := &harness.Server{Dir: t.TempDir()}
	for _, x := range []struct {
		env  []string
		code int
		says string
	}{
		{nil, 4, "hangar key create"},
		{[]string{"AWS_ACCESS_KEY_ID=x"}, 2, "half of an S3 key"},
		{[]string{"AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=y", "HANGAR_K2V_ENDPOINT=" + harness.FreeAddr(t)}, 3, "cannot reach K2V at http://127.0.0.1:"},
	} {
		cmd := hangarK2V(t.Context(), t, s, "get", "b", "p", "s")
		cmd.Args = append(cmd.Args[:2], "get", "b", "p", "s") // without --data
		cmd.Dir = s.Dir
		cmd.Env = append(cmd.Env, x.env...)
		out, _ := cmd.CombinedOutput() // its code is looked at below
		if cmd.ProcessState.ExitCode() != x.code || !strings.Contains(string(out), x.says) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%v: exit %d: %s", x.env, cmd.ProcessState.ExitCode(), out)
		}
	}
}
