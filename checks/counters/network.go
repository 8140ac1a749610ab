package counters

import (
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"strconv"
	"time"

	"milterd/checks"
)

// networksKey is the key of the record of the lengths of blocked networks, each with the end of its last block in Unix seconds. A
// session looks for blocks of networks of these lengths alone.
const networksKey = "counters:networks"

// The shortest prefixes of a network that can be blocked. A shorter one is a mistake.
const (
	minBlockBits4 = 8
	minBlockBits6 = 32
)

// isNetwork reports whether a prefix has several clients.
func isNetwork(p netip.Prefix) bool { return p.Bits() < ClientOf(p.Addr()).Bits() }

// clientOrNetwork returns the client of a prefix, or the prefix if it is a network that can be blocked.
func clientOrNetwork(p netip.Prefix) (netip.Prefix, error) {
	if p.IsValid() && !isNetwork(p) {
		return ClientOf(p.Addr()), nil
	}
	least := minBlockBits6
	if p.Addr().Is4() {
		least = minBlockBits4
	}
	if p.Bits() < least {
		return netip.Prefix{}, checks.BadArgument("%s is too wide to block; a network has a /%d at least", p, least)
	}
	return p.Masked(), nil
}

// lengthName returns the name of a length in the record: 4/24 or 6/48.
func lengthName(p netip.Prefix) string {
	if p.Addr().Is4() {
		return "4/" + strconv.Itoa(p.Bits())
	}
	return "6/" + strconv.Itoa(p.Bits())
}

// noteNetwork adds the length of a network that is blocked until a time. It needs no transaction: only operators block networks.
func noteNetwork(ctx context.Context, store checks.Store, p netip.Prefix, until, now time.Time) error {
	ends, err := networkLengths(ctx, store)
	if err != nil {
		return err
	}
	maps.DeleteFunc(ends, func(_ string, end int64) bool { return end <= now.Unix() })
	ends[lengthName(p)] = max(ends[lengthName(p)], until.Unix())
	last := int64(0)
	for _, end := range ends {
		last = max(last, end)
	}
	return checks.PutJSON(ctx, store, networksKey, ends, time.Unix(last, 0).Sub(now))
}

// networkLengths returns the lengths of blocked networks, with the ends of their blocks.
func networkLengths(ctx context.Context, store checks.Store) (map[string]int64, error) {
	ends := map[string]int64{}
	value, ok, err := store.Get(ctx, networksKey)
	if err != nil || !ok {
		return ends, err
	}
	if json.Unmarshal(value, &ends) != nil {
		return map[string]int64{}, nil // of another version
	}
	return ends, nil
}

// networkBlock returns the block of the narrowest network with a client that has one, or nil.
func networkBlock(ctx context.Context, store checks.Store, client netip.Prefix, now time.Time) (*block, error) {
	ends, err := networkLengths(ctx, store)
	if err != nil {
		return nil, err
	}
	for bits := client.Bits() - 1; bits > 0 && len(ends) > 0; bits-- {
		p, err := client.Addr().Prefix(bits)
		if err != nil || ends[lengthName(p)] == 0 {
			continue
		}
		b, err := getBlock(ctx, store, subject{client: p})
		if b = b.at(now); b != nil || err != nil {
			return b, err
		}
	}
	return nil, nil
}
