package counters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks"
)

// Blocked is a client under a block.
type Blocked struct {
	Client  netip.Prefix `json:"client"`
	Sender  string       `json:"sender,omitempty"` // domain whose mail alone is blocked, as the client is a good sender; empty: all mail
	Since   time.Time    `json:"since"`
	Until   time.Time    `json:"until"`
	Level   int          `json:"level"`    // 1 for the first block; 0 if by the operator
	Why     string       `json:"why"`      // end of the sentence "is blocked for ..."
	Limits  []string     `json:"limits"`   // ids of the limits that the client passed; empty if by the operator
	InForce bool         `json:"in_force"` // false: nothing was refused yet, because nothing came or the limit is watched
}

const (
	// defaultNote is the reason of a block by the operator without a reason.
	defaultNote = "administrative reasons"
	// maxManualBlock is the longest block by the operator. A deny list is the place for longer ones.
	maxManualBlock = 366 * 24 * time.Hour
)

// Blocks returns the blocks of clients, networks, and senders of a client, those that end first at the beginning. Records that
// cannot be read are an error beside the others.
func Blocks(ctx context.Context, store checks.Store, now time.Time) ([]Blocked, error) {
	list := []Blocked{} // [] in JSON
	var errs []error
	prefix := keyPrefix(blockKind)
	for record, err := range store.Scan(ctx, prefix) {
		if err != nil {
			errs = append(errs, err)
			break
		}
		s, err := parseSubject(strings.TrimPrefix(record.Key, prefix))
		if err != nil {
			errs = append(errs, fmt.Errorf("counters: block %q: %w", record.Key, err))
			continue
		}
		b, err := decodeBlock(record.Value, s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.client, err))
			continue
		}
		if b = b.at(now); b != nil {
			list = append(list, b.describe())
		}
	}
	slices.SortFunc(list, func(a, b Blocked) int {
		return cmp.Or(a.Until.Compare(b.Until), a.Client.Compare(b.Client), cmp.Compare(a.Sender, b.Sender))
	})
	return list, errors.Join(errs...)
}

// SenderBlocks returns the blocks of mail of single domains from good senders: those of a client, or of a domain and all below it.
func SenderBlocks(ctx context.Context, store checks.Store, client netip.Prefix, domain string, now time.Time) ([]Blocked, error) {
	list, err := Blocks(ctx, store, now)
	list = slices.DeleteFunc(list, func(b Blocked) bool { return b.Sender == "" || b.Client != client && !b.Of(domain) })
	return list, err
}

// Of reports whether the block is about the mail of a domain. A block of all mail is of every domain.
func (b Blocked) Of(domain string) bool { return b.Sender == "" || checks.Under(domain, b.Sender) }

func (b *block) describe() Blocked {
	limits := []string{} // [] in JSON
	for _, sp := range b.Spans {
		if sp.Limit != "" {
			limits = append(limits, sp.Limit)
		}
	}
	w := b.whole()
	return Blocked{
		Client: b.of.client, Sender: b.of.sender, Since: time.Unix(w.Since, 0).UTC(), Until: w.until(),
		Level: b.Level, Why: b.why(), Limits: limits, InForce: b.InForce,
	}
}

// Covering returns the block, in force or pending, of a client or else of a network with it, or nil.
func Covering(ctx context.Context, store checks.Store, client netip.Prefix, now time.Time) (*Blocked, error) {
	b, err := findBlock(ctx, store, subject{client: client}, now)
	if b == nil || err != nil {
		return nil, err
	}
	d := b.describe()
	return &d, nil
}

// Block blocks a client or a network of clients for the time d, in place of an existing block. why is the end of the sentence
// "is blocked for ...". Open connections are not affected.
func Block(ctx context.Context, store checks.Store, client netip.Prefix, now time.Time, d time.Duration, why string) (Blocked, error) {
	client, err := clientOrNetwork(client)
	if err != nil {
		return Blocked{}, err
	}
	switch {
	case d < time.Second:
		return Blocked{}, checks.BadArgument("a block of %s is too short; write 1s or more", checks.FormatDuration(d))
	case d > maxManualBlock:
		return Blocked{}, checks.BadArgument("a block lasts at most 366d; for longer use a deny list (checks.access)")
	}
	b := &block{
		Version: blockVersion, InForce: true, Note: cmp.Or(checks.Clean(why, 100), defaultNote),
		Spans: []span{{Since: now.Unix(), Until: now.Add(d).Unix()}}, of: subject{client: client},
	}
	if _, err := b.put(ctx, store, now, false); err != nil {
		return Blocked{}, err
	}
	if isNetwork(client) {
		err = noteNetwork(ctx, store, client, now.Add(d), now)
	}
	return b.describe(), err
}

// Unblock ends the block of a client or network, and deletes its counts and its level. With a sender, it does that for the mail of
// this sender's domain alone, see Blocked. It reports whether there was a block. Open connections stay blocked.
func Unblock(ctx context.Context, store checks.Store, client netip.Prefix, sender string, now time.Time) (bool, error) {
	client, err := clientOrNetwork(client)
	if err != nil {
		return false, err
	}
	s := subject{client: client, sender: sender}
	b, err := getBlock(ctx, store, s)
	// A record that cannot be read is deleted too.
	for _, kind := range []string{blockKind, tallyKind, levelKind} {
		err = errors.Join(err, store.Delete(ctx, s.key(kind)))
	}
	return b.at(now) != nil, err
}

// Repaired ends the block of a client, or of the mail of a sender's domain from it, whose refusals have been repaired, and reports
// whether it did. It ends the first block for too-many-errors alone, and keeps the level: with a name server of its own, a client
// could repair and break its names as often as it likes.
func Repaired(ctx context.Context, store checks.Store, b Blocked) (bool, error) {
	if !b.InForce || b.Level != 1 || !slices.Equal(b.Limits, []string{tooManyErrors.ID}) {
		return false, nil
	}
	s := subject{client: b.Client, sender: b.Sender}
	err := errors.Join(store.Delete(ctx, s.key(blockKind)), store.Delete(ctx, s.key(tallyKind)))
	return err == nil, err
}

// Restore stores a block again that Unblock ended, and its level. The counts that led to it stay deleted.
func Restore(ctx context.Context, store checks.Store, b Blocked, now time.Time) error {
	if !b.Until.After(now) {
		return nil
	}
	again := &block{Version: blockVersion, InForce: b.InForce, Level: b.Level, of: subject{client: b.Client, sender: b.Sender}}
	ids := b.Limits
	if len(ids) == 0 { // by the operator
		again.Note, ids = b.Why, []string{""}
	}
	for _, limit := range ids {
		again.Spans = append(again.Spans, span{Limit: limit, Since: b.Since.Unix(), Until: b.Until.Unix()})
	}
	if _, err := again.put(ctx, store, now, false); err != nil {
		return err
	}
	if again.InForce && !again.byOperator() {
		return again.putLevel(ctx, store, now)
	}
	if isNetwork(b.Client) {
		return noteNetwork(ctx, store, b.Client, b.Until, now)
	}
	return nil
}
