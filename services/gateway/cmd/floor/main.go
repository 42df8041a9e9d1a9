// Command floor is what speed is measured against: the gateway's own HTTP edge
// with signature check, MD5, checksums and XML, and no storage behind it.
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
	addr := flag.String("addr", "127.0.0.1:3999", "address to serve at")
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
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
		return floor.Serve(ctx, ln, o)
	})
}
