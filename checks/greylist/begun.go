package greylist

import (
	"net/netip"
	"sync"
	"time"

	"milterd/checks"
)

const (
	// maxBegun is how many triplets a network may begin in an hour. A client can make up any number of senders, and each triplet
	// stays in the store for days. With half of it, mail to many recipients from a host without a name takes twice the hours;
	// with double, a network fills twice as much of the disk.
	maxBegun = 10_000
	// maxBegunNetworks is how many networks are counted at a time, each in about 100 bytes.
	maxBegunNetworks = 10_000
)

// begunCounter counts the triplets that networks have begun in the current hour at this host. The zero value is ready. It is safe
// for concurrent use.
type begunCounter struct {
	mu       sync.Mutex
	hour     int64
	networks map[netip.Prefix]int
}

// add counts a triplet of a client and returns how many its network has begun, or 0 if too many networks are counted already.
func (b *begunCounter) add(client netip.Addr, now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if hour := now.Unix() / 3600; hour != b.hour || b.networks == nil {
		b.hour, b.networks = hour, map[netip.Prefix]int{}
	}
	network := checks.Network(client)
	if _, ok := b.networks[network]; !ok && len(b.networks) >= maxBegunNetworks {
		return 0
	}
	b.networks[network]++
	return b.networks[network]
}
