package counters

import (
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"time"

	"milterd/checks"
)

// networksKey is the key of the record of the lengths of blocked networks, each with the end of its last block in Unix seconds. A
// session looks for blocks of networks of these lengths alone. Lengths of IPv4 are below 32, those of IPv6 are not.
const networksKey = "counters:networks"

// minBlockBits returns the length of the widest network that can be blocked. A shorter one is a mistake.
func minBlockBits(a netip.Addr) int {
	if a.Is4() {
		return 8
	}
	return 32
}

// isNetwork reports whether a prefix has several clients.
func isNetwork(p netip.Prefix) bool { return p.Bits() < checks.ClientOf(p.Addr()).Bits() }

// clientOrNetwork returns the client of a prefix, or the prefix if it is a network that can be blocked.
func clientOrNetwork(p netip.Prefix) (netip.Prefix, error) {
	if p.IsValid() && !isNetwork(p) {
		return checks.ClientOf(p.Addr()), nil
	}
	if least := minBlockBits(p.Addr()); p.Bits() < least {
		return netip.Prefix{}, checks.BadArgument("%s is too wide to block; a network has a /%d at least", p, least)
	}
	return p.Masked(), nil
}

// noteNetwork adds the length of a network that is blocked until a time. It needs no transaction: only operators block networks.
func noteNetwork(ctx context.Context, store checks.Store, p netip.Prefix, until, now time.Time) error {
	ends, err := networkLengths(ctx, store)
	if err != nil {
		return err
	}
	maps.DeleteFunc(ends, func(_ int, end int64) bool { return end <= now.Unix() })
	ends[p.Bits()] = max(ends[p.Bits()], until.Unix())
	last := slices.Max(slices.Collect(maps.Values(ends)))
	return checks.PutJSON(ctx, store, networksKey, ends, time.Unix(last, 0).Sub(now))
}

// networkLengths returns the lengths of blocked networks, with the ends of their blocks.
func networkLengths(ctx context.Context, store checks.Store) (map[int]int64, error) {
	ends := map[int]int64{}
	value, ok, err := store.Get(ctx, networksKey)
	if err != nil || !ok {
		return ends, err
	}
	if json.Unmarshal(value, &ends) != nil {
		return map[int]int64{}, nil // of another version
	}
	return ends, nil
}

// networkBlock returns the block of the narrowest network with a client that has one, or nil.
func networkBlock(ctx context.Context, store checks.Store, client netip.Prefix, now time.Time) (*block, error) {
	ends, err := networkLengths(ctx, store)
	if err != nil {
		return nil, err
	}
	for bits := client.Bits() - 1; bits >= minBlockBits(client.Addr()); bits-- {
		if ends[bits] == 0 {
			continue
		}
		b, err := getBlock(ctx, store, subject{client: netip.PrefixFrom(client.Addr(), bits).Masked()})
		if b = b.at(now); b != nil || err != nil {
			return b, err
		}
	}
	return nil, nil
}
