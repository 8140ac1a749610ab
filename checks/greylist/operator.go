package greylist

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"milterd/checks"
)

// State is the state of a triplet.
type State string

// The states.
const (
	Waiting State = "waiting" // no retry in time yet, and the window is open
	Passed  State = "passed"  // a message was accepted
	Gone    State = "gone"    // no retry in time; kept for 7 days, for Retry
)

// Triplet is a client identity, a reverse-path and a recipient, as stored. Times are zero if there is none.
type Triplet struct {
	Identity  string    `json:"identity"`
	From      string    `json:"from"` // facts.StableSender; empty for the null reverse-path
	To        string    `json:"to"`
	Client    string    `json:"client"`    // address at the last attempt
	Suspicion string    `json:"suspicion"` // reason for the deferral; empty if it was never deferred
	State     State     `json:"state"`
	Attempts  int       `json:"attempts"`        // after it has passed, those of one hour count once
	First     time.Time `json:"first"`           // attempt that began the delay
	Last      time.Time `json:"last"`            // attempt; after it has passed, to the hour
	Back      time.Time `json:"back,omitzero"`   // first retry, too early or not
	Passed    time.Time `json:"passed,omitzero"` // acceptance of the first message
	Until     time.Time `json:"until,omitzero"`  // end of the window, if it has not passed
}

// Client is a client identity that has passed, or that the operator allowed.
type Client struct {
	Identity string    `json:"identity"`         // "example.net 192.0.2.0/24", a domain with SPF, a network or an address
	Passes   int       `json:"passes"`           // at most one per hour
	Counted  time.Time `json:"counted,omitzero"` // last pass that counted
	Used     time.Time `json:"used,omitzero"`    // last message that was accepted
	Client   string    `json:"client"`           // address at the last message; empty if there was none
	Allowed  bool      `json:"allowed"`          // by the operator
	Note     string    `json:"note,omitempty"`   // hint for the operator who allows an identity
}

// List iterates over the triplets that a query selects, in no particular order. An empty query selects all of them. An error is the
// last element.
//
// A mailbox selects by sender or recipient, an address or network by the last client. A domain selects by the client's identity
// or the sender's domain, including subdomains.
func List(ctx context.Context, store checks.Store, now time.Time, query string) iter.Seq2[Triplet, error] {
	return func(yield func(Triplet, error) bool) {
		for f, err := range findTriplets(ctx, store, query) {
			if !yield(f.value.triplet(now), err) {
				return
			}
		}
	}
}

// Clients iterates over the clients that a query selects, as List does.
func Clients(ctx context.Context, store checks.Store, query string) iter.Seq2[Client, error] {
	return func(yield func(Client, error) bool) {
		for f, err := range findClients(ctx, store, query) {
			if !yield(f.value.client(clientName(f.stored)), err) {
				return
			}
		}
	}
}

// Selection is the result of Show.
type Selection struct {
	Triplets []Triplet `json:"triplets"`
	Clients  []Client  `json:"clients"`

	records Forgotten // of the triplets and the clients
}

// Show returns the triplets and the clients that a query selects, as List does.
func Show(ctx context.Context, store checks.Store, now time.Time, query string) (Selection, error) {
	sel := Selection{Triplets: []Triplet{}, Clients: []Client{}} // [] in JSON
	for f, err := range findTriplets(ctx, store, query) {
		if err != nil {
			return sel, err
		}
		sel.Triplets, sel.records = append(sel.Triplets, f.value.triplet(now)), append(sel.records, f.stored)
	}
	for f, err := range findClients(ctx, store, query) {
		if err != nil {
			return sel, err
		}
		sel.Clients, sel.records = append(sel.Clients, f.value.client(clientName(f.stored))), append(sel.records, f.stored)
	}
	return sel, nil
}

// Allow exempts a client until Forget deletes it: an address, its /24 or /64, or a domain as List shows it for the client (the
// organisational domain of its confirmed name, or the domain for which it passes SPF).
func Allow(ctx context.Context, store checks.Store, now time.Time, what string) (Client, error) {
	name, err := parseClientName(what)
	if err != nil {
		return Client{}, err
	}
	rec, _, err := load[clientRecord](ctx, store, clientPrefix+name)
	if err != nil {
		return Client{}, err
	}
	rec.Allowed, rec.Used = true, max(rec.Used, now.Unix())
	c := rec.client(name)
	domain, _, _ := strings.Cut(name, " ")
	if org := checks.OrgDomain(domain); org != "" && org != domain && !checks.LooksLikeNetwork(domain) {
		c.Note = fmt.Sprintf("this applies to clients that pass SPF for %s; a client with a confirmed name has its organisational domain, %s, as identity", domain, org)
	}
	return c, checks.PutJSON(ctx, store, clientPrefix+name, rec, allowFor)
}

// Forgotten are the records that Forget has deleted.
type Forgotten []checks.Record

// Forget deletes the records of a selection, and returns them. After an error, some may be left.
func (s Selection) Forget(ctx context.Context, store checks.Store) (Forgotten, error) {
	for _, record := range s.records {
		if err := store.Delete(ctx, record.Key); err != nil {
			return nil, err
		}
	}
	return s.records, nil
}

// Restore stores the records again that have not expired, unless there are newer ones.
func (f Forgotten) Restore(ctx context.Context, store checks.Store, now time.Time) error {
	for _, record := range f {
		ttl := record.Expires.Sub(now)
		if ttl < time.Second {
			continue
		}
		if _, err := store.PutNew(ctx, record.Key, record.Value, ttl); err != nil {
			return err
		}
	}
	return nil
}

// found is a record of the store, as stored and decoded.
type found[T any] struct {
	stored checks.Record
	value  T
}

// findTriplets iterates over the triplets that a query selects.
func findTriplets(ctx context.Context, store checks.Store, query string) iter.Seq2[found[record], error] {
	return scan(ctx, store, query, func(sel selector, f found[record]) bool { return sel.triplet(f.value) }, waitPrefix, passPrefix)
}

// findClients iterates over the clients that a query selects.
func findClients(ctx context.Context, store checks.Store, query string) iter.Seq2[found[clientRecord], error] {
	return scan(ctx, store, query, func(sel selector, f found[clientRecord]) bool {
		return sel.client(clientName(f.stored), f.value)
	}, clientPrefix)
}

// clientName returns the name of a client whose record is stored.
func clientName(stored checks.Record) string { return strings.TrimPrefix(stored.Key, clientPrefix) }

// scan iterates over the records under prefixes that a query selects. An error is the last element.
func scan[T any](
	ctx context.Context, store checks.Store, query string, selects func(selector, found[T]) bool, prefixes ...string,
) iter.Seq2[found[T], error] {
	sel, err := newSelector(query)
	return func(yield func(found[T], error) bool) {
		if err != nil {
			yield(found[T]{}, err)
			return
		}
		for _, prefix := range prefixes {
			for stored, err := range store.Scan(ctx, prefix) {
				if err != nil {
					yield(found[T]{}, err)
					return
				}
				f := found[T]{stored: stored}
				if json.Unmarshal(stored.Value, &f.value) == nil && selects(sel, f) && !yield(f, nil) {
					return
				}
			}
		}
	}
}

func (rec record) triplet(now time.Time) Triplet {
	return Triplet{
		Identity: rec.Identity, From: rec.From, To: rec.To, Client: rec.Client, Suspicion: rec.Why, Attempts: rec.Attempts,
		State: rec.state(now), First: timeOf(rec.First), Last: timeOf(rec.Last), Back: timeOf(rec.Back),
		Passed: timeOf(rec.Passed), Until: timeOf(rec.Until),
	}
}

func (rec record) state(now time.Time) State {
	switch {
	case rec.Passed != 0:
		return Passed
	case now.Unix() <= rec.Until:
		return Waiting
	default:
		return Gone
	}
}

func (rec clientRecord) client(name string) Client {
	return Client{
		Identity: name, Passes: rec.Passes, Counted: timeOf(rec.Counted), Used: timeOf(rec.Used), Client: rec.Client, Allowed: rec.Allowed,
	}
}

// timeOf returns the time of a record, which is zero if there is none.
func timeOf(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}
