// Command bench measures Hangar beside the floor: the same HTTP edge with
// signature check and MD5 but no storage. Both run at the same time on this
// machine and take turns, so that their ratio means something even where
// absolute figures do not.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "where the binaries are")
	flag.StringVar(&o.dir, "dir", "", "where to keep data (default: a temporary directory)")
	flag.DurationVar(&o.turn, "turn", 3*time.Second, "length of a turn")
	flag.IntVar(&o.rounds, "rounds", 3, "turns of each side per workload; the median counts")
	flag.StringVar(&o.ops, "ops", "", "address at which hangar serves profiles while it is measured")
	flag.StringVar(&o.only, "only", "", "run only workloads whose name contains this")
	scrub := flag.Bool("scrub", false, "measure reads beside a scrub instead")
	polls := flag.Bool("polls", false, "measure polls of K2V instead")
	flag.Parse()
	what := run
	switch {
	case *scrub:
		what = runScrub
	case *polls:
		what = runPolls
	}
	if err := what(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
