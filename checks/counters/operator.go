package counters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
)

// Blocked is a client under a block.
type Blocked struct {
	Client  netip.Prefix `json:"client"`
	Since   time.Time    `json:"since"`
	Until   time.Time    `json:"until"`
	Level   int          `json:"level"`    // the first block is 1; 0: by the postmaster
	Why     string       `json:"why"`      // completes "is blocked for ..."
	Limits  []string     `json:"limits"`   // ids of those that the client passed; none: by the postmaster
	InForce bool         `json:"in_force"` // false: nothing was refused yet, because nothing came or the limit is watched
}

// State is all that is known of a client.
type State struct {
	Client     netip.Prefix `json:"client"`
	Errors     int          `json:"errors"`     // in the window
	Deliveries int          `json:"deliveries"` // in the window; those of open connections may be missing
	Count      int          `json:"count"`      // what the limit is compared with: errors that no later delivery made good for
	Clears     time.Time    `json:"clears"`     // when the window ends; zero if nothing is counted
	Level      int          `json:"level"`      // blocks lately: the next one is as long as the one after them
	Forgets    time.Time    `json:"forgets"`    // when the level is forgotten; zero if it is 0
	Block      *Blocked     `json:"block"`      // nil: none
}

// DefaultNote is why a client is blocked by hand, if nobody says.
const DefaultNote = "administrative reasons"

// Blocks lists the clients under a block, those that are free first at the beginning. A record that cannot be read is an error
// beside the others.
func Blocks(ctx context.Context, store checks.Store, now time.Time) ([]Blocked, error) {
	list := []Blocked{} // [] in JSON
	var errs []error
	for r, err := range store.Scan(ctx, blockPrefix) {
		if err != nil {
			errs = append(errs, err)
			break
		}
		client, err := netip.ParsePrefix(strings.TrimPrefix(r.Key, blockPrefix))
		if err != nil {
			errs = append(errs, fmt.Errorf("counters: block %q: %w", r.Key, err))
			continue
		}
		b, err := decodeBlock(r.Value)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", client, err))
			continue
		}
		if b = b.at(now); b != nil {
			list = append(list, b.describe(client))
		}
	}
	slices.SortFunc(list, func(a, b Blocked) int {
		return cmp.Or(a.Until.Compare(b.Until), a.Client.Compare(b.Client))
	})
	return list, errors.Join(errs...)
}

func (b *block) describe(client netip.Prefix) Blocked {
	w := b.whole()
	limits := []string{} // [] in JSON
	for _, sp := range b.Spans {
		if sp.Limit != "" {
			limits = append(limits, sp.Limit)
		}
	}
	return Blocked{client, time.Unix(w.Since, 0).UTC(), w.until(), b.Level, b.why(), limits, b.InForce}
}

// LongestBlock is the longest block by hand.
const LongestBlock = 366 * 24 * time.Hour

// Block blocks a client by hand, in place of the block that it may be under. why completes "is blocked for ...". Connections
// that are open do not feel it.
func Block(ctx context.Context, store checks.Store, client netip.Prefix, now time.Time, d time.Duration, why string) (Blocked, error) {
	client, err := oneClient(client)
	if err != nil {
		return Blocked{}, err
	}
	switch {
	case d < time.Second:
		return Blocked{}, fmt.Errorf("counters: a block of %s is none", d)
	case d > LongestBlock:
		return Blocked{}, errors.New("counters: want 366d at most; who is to be refused for longer belongs on a deny list (checks.access)")
	}
	b := &block{
		Version: blockVersion, InForce: true, Note: cmp.Or(checks.Clean(why, 100), DefaultNote),
		Spans: []span{{Since: now.Unix(), Until: now.Add(d).Unix()}},
	}
	if _, err := b.put(ctx, store, client, now, false); err != nil {
		return Blocked{}, err
	}
	return b.describe(client), nil
}

// Unblock ends the block of a client and forgets its counts and how often it was blocked. It tells whether there was one.
// Connections that are open stay blocked.
func Unblock(ctx context.Context, store checks.Store, client netip.Prefix, now time.Time) (bool, error) {
	client, err := oneClient(client)
	if err != nil {
		return false, err
	}
	b, err := getBlock(ctx, store, client)
	// What cannot be read is deleted all the same.
	for _, key := range []string{blockKey(client), tallyKey(client), levelKey(client)} {
		err = errors.Join(err, store.Delete(ctx, key))
	}
	return b.at(now) != nil, err
}

// Show tells what is known of a client.
func Show(ctx context.Context, store checks.Store, client netip.Prefix, now time.Time) (State, error) {
	client, err := oneClient(client)
	if err != nil {
		return State{}, err
	}
	st := State{Client: client}
	b, err := getBlock(ctx, store, client)
	if b = b.at(now); b != nil {
		d := b.describe(client)
		st.Block = &d
	}
	total, clears, errTally := number(ctx, store, tallyKey(client))
	t := tally(total)
	st.Errors, st.Deliveries, st.Count, st.Clears = t.errors(), t.deliveries(), t.count(), clears
	level, forgets, errLevel := number(ctx, store, levelKey(client))
	st.Level, st.Forgets = int(level), forgets
	return st, errors.Join(err, errTally, errLevel)
}

// number reads a number and when it expires, which Scan alone tells.
func number(ctx context.Context, store checks.Store, key string) (int64, time.Time, error) {
	for r, err := range store.Scan(ctx, key) {
		if err != nil {
			return 0, time.Time{}, err
		}
		if r.Key == key {
			n, err := strconv.ParseInt(string(r.Value), 10, 64)
			return n, r.Expires.UTC(), err
		}
	}
	return 0, time.Time{}, nil
}

// oneClient turns an address of a client into its Prefix. A network of many clients has no counts and no block.
func oneClient(p netip.Prefix) (netip.Prefix, error) {
	c := ClientOf(p.Addr())
	if !c.IsValid() || p.Bits() < c.Bits() {
		return netip.Prefix{}, fmt.Errorf("counters: %s is not one client, which is an IPv4 address or an IPv6 /64", p)
	}
	return c, nil
}
