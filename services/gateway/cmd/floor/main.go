// Command floor is what speed is measured against: the gateway's own HTTP edge
// with signature check, MD5, checksums and XML, and no storage behind it. For K2V
// it checks the signature and reads the body.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"

	"hangar/services/gateway/internal/floor"
	"hangar/shared/lifecycle"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:3999", "address to serve S3 at")
	k2v := flag.String("k2v-addr", "127.0.0.1:3998", "address to serve K2V at")
	var o floor.Options
	flag.StringVar(&o.AccessKey, "access-key", "", "access key id to accept")
	flag.StringVar(&o.SecretKey, "secret-key", "", "secret of that key")
	flag.StringVar(&o.Bucket, "bucket", "bench", "name of the one bucket")
	flag.StringVar(&o.Region, "region", "hangar", "region that requests are signed for")
	flag.Parse()
	lifecycle.Main(func(ctx context.Context) error {
		if o.AccessKey == "" || o.SecretKey == "" {
			return errors.New("--access-key and --secret-key are needed")
		}
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
		if err != nil {
			return fmt.Errorf("--addr: %w", err)
		}
		items, err := new(net.ListenConfig).Listen(ctx, "tcp", *k2v)
		if err != nil {
			return errors.Join(fmt.Errorf("--k2v-addr: %w", err), ln.Close())
		}
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
		return lifecycle.Run(ctx, func(group *lifecycle.Group) error {
			group.Go("S3", func(ctx context.Context) error { return floor.Serve(ctx, ln, o) })
			group.Go("K2V", func(ctx context.Context) error { return floor.ServeItems(ctx, items, o) })
			return nil
		})
	})
}
