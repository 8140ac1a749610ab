package main

import (
	"math"
	"os"
	"runtime/debug"
	"sort"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"milterd/milter"
)

// spareFiles is the number of file descriptors kept for all but mail servers: DNS, callouts, the store, the log, pages.
const spareFiles = 1000

// affordableConnections returns the number of milter connections that the limit of file descriptors allows, wanted at most.
func affordableConnections(wanted int, log *logrus.Logger) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		log.WithError(err).Warn("cannot read the limit of open files")
		return wanted
	}
	files := int(min(limit.Cur, math.MaxInt32))
	most := connectionsOf(files)
	if wanted <= most {
		return wanted
	}
	log.WithFields(logrus.Fields{"max_connections": most, "wanted": wanted, "files": files}).
		Info("fewer connections than configured: the limit of open files is too low (LimitNOFILE, ulimit -n)")
	return most
}

// connectionsOf returns the limit on connections for a number of file descriptors. If there are few, connections get
// half of them.
func connectionsOf(files int) int {
	left := files - min(spareFiles, files/2)
	return max(1, sort.Search(left, func(n int) bool { return milter.MaxOpen(n+1) > left })) // 0 would be no limit
}

// otherMemory is what caches, the store and the program itself take at most.
const otherMemory = 256 << 20 // bytes

// spareHeap is memory that is never used, so the system never provides it. The garbage collector counts it as live, and by its default
// (GOGC) lets as much garbage come together as is live before it collects. Without spareHeap it collects a heap of some 10 MiB about 30
// times a second, which costs a seventh of the processor time of the scenario hot1 of make bench. The price is as much more memory
// under load.
var spareHeap []byte

const (
	spareHeapSize = 64 << 20 // bytes
	// minSpareLimit is the lowest limit of GOMEMLIMIT with which there is a spareHeap, in bytes. Near spareHeapSize, the collector would
	// never rest: with a limit of 64 MiB the daemon took three times the processor time.
	minSpareLimit = 4 * spareHeapSize
)

// tuneHeap reserves spareHeap, and sets the memory limit of the garbage collector to twice what sessions and the rest may take, unless
// the environment variable GOMEMLIMIT sets one.
func tuneHeap(memory int64) {
	if debug.SetMemoryLimit(-1) >= minSpareLimit {
		spareHeap = make([]byte, spareHeapSize)
	}
	if memory > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(2*(memory+otherMemory) + int64(len(spareHeap)))
	}
}
