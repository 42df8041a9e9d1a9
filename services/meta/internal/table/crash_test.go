package table_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hangar/shared/metaapi"
	"hangar/shared/register"
)

// crashDir, when set, makes the test binary a writer that is to be killed.
const crashDir = "HANGAR_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(dir, os.Getenv("HANGAR_TEST_CRASH_ROUND"))
		return
	}
	os.Exit(m.Run())
}

// crashRow is what a killed writer acknowledged.
type crashRow struct {
	key  string
	time int64
}

func crashValue(key string, at int64) *register.Value {
	body := ""
	if at%2 == 0 { // every other version has a body that is kept apart
		body = strings.Repeat(fmt.Sprint(at, "."), 300)
	}
	head := fmt.Sprintf("%s at %d", key, at)
	if crashKey(key).Table == metaapi.Items {
		head = string(metaapi.AppendItemCounters(nil, metaapi.ItemCounters{Entries: 1, Bytes: at})) + head
	}
	return value(head, body)
}

// crashKey makes an item of every other writer's rows.
func crashKey(key string) metaapi.RowKey {
	if key[0]%2 == 1 {
		return metaapi.RowKey{Table: metaapi.Items, Bucket: bucket, Key: key[:1], Sub: key}
	}
	return objectKey(key)
}

// writeUntilKilled writes rows from several goroutines and prints each once it
// was acknowledged.
func writeUntilKilled(dir, round string) {
	t := new(testing.B) // only for its failures, which a child shows by exiting
	n := start(t, openStore(t, dir))
	base, err := strconv.ParseInt(round, 10, 64)
	if err != nil {
		panic(err)
	}
	var out sync.Mutex
	fmt.Println("ready")
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := int64(0); ; i++ {
				key := fmt.Sprintf("%d-%d", w, i%200)
				at := base*1_000_000 + i
				r, err := n.Handle(context.Background(), crashKey(key), register.Request{
					Kind: register.Apply,
					Row:  register.Row{Tag: tag(at), Op: tag(at), Value: crashValue(key, at)},
				})
				if err != nil || r.Code != register.Done {
					panic(fmt.Sprint(r, err))
				}
				out.Lock()
				fmt.Println(key, at)
				out.Unlock()
			}
		})
	}
	wg.Wait()
}

// TestKill kills a writer at random moments and expects, after each reopening,
// every acknowledged row, whole, and everything derived to agree.
func TestKill(t *testing.T) {
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	dir := t.TempDir()
	acked := map[string]int64{}
	for round := 1; round <= rounds; round++ {
		for _, row := range killedWriter(t, dir, round) {
			acked[row.key] = max(acked[row.key], row.time)
		}
		n := start(t, openStore(t, dir))
		for key, at := range acked {
			r := n.handle(t, crashKey(key), register.Request{Kind: register.Read})
			if r.Row.Tag.Time < at || r.Row.Value == nil {
				t.Fatalf("round %d: %s was acknowledged at %d and is at %v", round, key, at, r.Row.Tag)
			}
			want := crashValue(key, r.Row.Tag.Time)
			if string(r.Row.Value.Head) != string(want.Head) || string(r.Row.Value.Body) != string(want.Body) {
				t.Errorf("round %d: %s is not whole", round, key)
			}
		}
		n.verify(t)
		n.stop()
	}
	if len(acked) < 100 {
		t.Errorf("only %d rows were written: the test shows nothing", len(acked))
	}
	t.Logf("%d rows checked in each of %d rounds", len(acked), rounds)
}

// killedWriter runs a writer for a moment, kills it, and returns what it
// acknowledged.
func killedWriter(t *testing.T, dir string, round int) (acked []crashRow) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("HANGAR_TEST_CRASH_ROUND=%d", round))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the writer did not start: %q", lines.Text())
	}
	kill := time.AfterFunc(time.Duration(100+rand.IntN(300))*time.Millisecond, func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	})
	defer kill.Stop()
	for lines.Scan() {
		key, at, ok := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseInt(at, 10, 64)
		// The last line may be cut: the kill came while it was written.
		if ok && err == nil && n >= int64(round)*1_000_000 {
			acked = append(acked, crashRow{key, n})
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the writer ended by itself")
	}
	return acked
}
