package k2v_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"strconv"

	"hangar/client/k2v"
)

func ExampleNew() {
	c, err := k2v.New(k2v.Options{
		Endpoint:        "http://127.0.0.1:3904",
		Region:          "hangar",
		Bucket:          "mail",
		AccessKeyID:     "GK0123456789abcdef01234567",
		SecretAccessKey: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Bucket())
	// Output: mail
}

// Two clients that increase a counter at the same time leave two values; the
// next one that comes takes the larger.
func ExampleSettle() {
	add := k2v.Settle(k2v.Largest, func(v []byte) ([]byte, error) {
		n := 0
		if v != nil {
			var err error
			if n, err = strconv.Atoi(string(v)); err != nil {
				return nil, err
			}
		}
		return fmt.Appendf(nil, "%06d", n+1), nil
	})
	for _, values := range [][][]byte{nil, {[]byte("000041")}, {[]byte("000041"), []byte("000042")}} {
		v, err := add(values)
		fmt.Println(string(v), err)
	}
	// Output:
	// 000001 <nil>
	// 000042 <nil>
	// 000043 <nil>
}

func ExampleUnion() {
	v, err := k2v.Union([][]byte{[]byte("INBOX\nTrash\n"), []byte("INBOX\nSent\n")})
	fmt.Printf("%s%v\n", v, err)
	// Output:
	// INBOX
	// Sent
	// Trash
	// <nil>
}

var client *k2v.Client

// Add a line to a set of lines, whatever others add at the same time.
func ExampleClient_Update() {
	add := k2v.Settle(k2v.Union, func(v []byte) ([]byte, error) { return append(v, "Sent\n"...), nil })
	err := client.Update(context.Background(), "users/ada", "mailboxes", add)
	switch {
	case errors.Is(err, k2v.ErrIndeterminate):
		fmt.Println("perhaps written: read it before you tell anybody")
	case err != nil:
		fmt.Println("not written:", err)
	}
}

// Walk over a partition, and settle what is in conflict.
func ExampleClient_Items() {
	ctx := context.Background()
	for item, err := range client.Items(ctx, k2v.Query{PartitionKey: "mailboxes", ConflictsOnly: true}) {
		if err != nil {
			log.Fatal(err)
		}
		if err := client.Resolve(ctx, item, k2v.Largest); err != nil {
			log.Fatal(err)
		}
	}
}

// Follow a partition, and go on after a restart of this program where it was.
func ExampleClient_WatchRange() {
	seen, err := os.ReadFile("seen") // what was kept the last time; nothing at first
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Fatal(err)
	}
	for changes, err := range client.WatchRange(context.Background(), k2v.Query{PartitionKey: "mailboxes"}, string(seen)) {
		if err != nil {
			log.Fatal(err)
		}
		for _, item := range changes.Items {
			fmt.Println(item.SortKey, len(item.Values))
		}
		// The items are dealt with: keep how far that is.
		if err := os.WriteFile("seen", []byte(changes.Seen), 0o600); err != nil {
			log.Fatal(err)
		}
	}
}
