package greylist

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/headers"
)

// State says what has become of a triplet.
type State string

// The states.
const (
	Waiting State = "waiting" // nobody came back in time yet, and the window is open
	Passed  State = "passed"  // a message came through
	Gone    State = "gone"    // nobody came back in time; kept for 7 days, for Retry
)

// Triplet is a client identity, a reverse-path and a recipient, as the store has them. Times that did not happen are zero.
type Triplet struct {
	Identity  string    `json:"identity"`
	From      string    `json:"from"` // normalised; empty: the null reverse-path
	To        string    `json:"to"`
	Client    string    `json:"client"`    // address of the last attempt
	Suspicion string    `json:"suspicion"` // reason it was held for; empty: it never was
	State     State     `json:"state"`
	Attempts  int       `json:"attempts"` // those of one hour count once after it has passed
	First     time.Time `json:"first"`    // attempt from which the delay counts
	Last      time.Time `json:"last"`     // attempt; to the hour after it has passed
	Back      time.Time `json:"back,omitzero"`
	Passed    time.Time `json:"passed,omitzero"`
	Until     time.Time `json:"until,omitzero"` // end of the window, if it has not passed
}

// Client is a client identity that has passed, or that the operator allowed.
type Client struct {
	Identity string    `json:"identity"` // "example.net 192.0.2.0/24", a domain with SPF, a network or an address
	Passes   int       `json:"passes"`   // counted, one per hour
	Counted  time.Time `json:"counted,omitzero"`
	Used     time.Time `json:"used,omitzero"`
	Client   string    `json:"client"`         // address of the last message; empty: none yet
	Allowed  bool      `json:"allowed"`        // by the operator
	Note     string    `json:"note,omitempty"` // what the operator should know of an identity that was allowed
}

// List goes through the triplets that what selects, in no order; all of them if it is empty. An error comes last.
//
// A mailbox selects by sender or recipient, an address or network by the last client, a domain by the client's identity or
// the sender's domain, each with what is below it.
func List(ctx context.Context, store checks.Store, now time.Time, what string) iter.Seq2[Triplet, error] {
	return func(yield func(Triplet, error) bool) {
		for f, err := range find(ctx, store, what) {
			if err != nil {
				yield(Triplet{}, err)
				return
			}
			if !yield(f.record.triplet(now), nil) {
				return
			}
		}
	}
}

// found is a triplet and its key.
type found struct {
	key string
	record
}

func find(ctx context.Context, store checks.Store, what string) iter.Seq2[found, error] {
	sel, err := newSelector(what)
	return func(yield func(found, error) bool) {
		if err != nil {
			yield(found{}, err)
			return
		}
		for _, prefix := range []string{waitKey, passKey} {
			for r, err := range store.Scan(ctx, prefix) {
				if err != nil {
					yield(found{}, err)
					return
				}
				f := found{key: r.Key}
				if json.Unmarshal(r.Value, &f.record) != nil || !sel.triplet(f.record) {
					continue
				}
				if !yield(f, nil) {
					return
				}
			}
		}
	}
}

// Clients goes through the clients that what selects, as List does.
func Clients(ctx context.Context, store checks.Store, what string) iter.Seq2[Client, error] {
	sel, err := newSelector(what)
	return func(yield func(Client, error) bool) {
		if err != nil {
			yield(Client{}, err)
			return
		}
		for r, err := range store.Scan(ctx, clientKey) {
			if err != nil {
				yield(Client{}, err)
				return
			}
			var c clientRecord
			name := strings.TrimPrefix(r.Key, clientKey)
			if json.Unmarshal(r.Value, &c) != nil || !sel.client(name, c) {
				continue
			}
			if !yield(c.client(name), nil) {
				return
			}
		}
	}
}

// Selection is what Show has found.
type Selection struct {
	Triplets []Triplet `json:"triplets"`
	Clients  []Client  `json:"clients"`
}

// Show returns all that Forget would remove.
func Show(ctx context.Context, store checks.Store, now time.Time, what string) (Selection, error) {
	sel := Selection{Triplets: []Triplet{}, Clients: []Client{}} // [] in JSON
	for t, err := range List(ctx, store, now, what) {
		if err != nil {
			return sel, err
		}
		sel.Triplets = append(sel.Triplets, t)
	}
	for c, err := range Clients(ctx, store, what) {
		if err != nil {
			return sel, err
		}
		sel.Clients = append(sel.Clients, c)
	}
	return sel, nil
}

// Allow lets a client through at once until Forget: an address, its /24 or /64, or a domain as List shows it for the client
// (the organisational domain of its confirmed name, or that for which it passes SPF).
func Allow(ctx context.Context, store checks.Store, now time.Time, what string) (Client, error) {
	name, err := clientName(what)
	if err != nil {
		return Client{}, err
	}
	c, _, err := load[clientRecord](ctx, store, clientKey+name)
	if err != nil {
		return Client{}, err
	}
	c.Allowed, c.Used = true, max(c.Used, now.Unix())
	allowed := c.client(name)
	domain, _, _ := strings.Cut(name, " ")
	if org := facts.OrgDomain(domain); org != "" && org != domain && !checks.LooksLikeNetwork(domain) {
		allowed.Note = fmt.Sprintf("that is for clients that pass SPF for %s; one with a name in the DNS is known by its organisational domain, %s", domain, org)
	}
	return allowed, save(ctx, store, clientKey+name, c, allowFor)
}

// clientName brings the operator's words into the form of names.
func clientName(what string) (string, error) {
	what = strings.ToLower(strings.TrimSpace(what))
	if a, err := netip.ParseAddr(what); err == nil {
		return a.Unmap().WithZone("").String(), nil
	}
	if p, err := netip.ParsePrefix(what); err == nil {
		switch {
		case p.IsSingleIP():
			return p.Addr().Unmap().String(), nil
		case p.Bits() != facts.Network(p.Addr()).Bits():
			return "", fmt.Errorf("%s: clients are known by their /24, IPv6 by their /64; for other networks there is the setting no_retry", what)
		}
		return p.Masked().String(), nil
	}
	domain, network, both := strings.Cut(what, " ")
	if both {
		p, err := netip.ParsePrefix(network)
		if err != nil {
			return "", fmt.Errorf("%q is no client: %w", what, err)
		}
		network = " " + p.Masked().String()
	}
	domain, ok := domainName(domain)
	switch {
	case !ok:
		return "", fmt.Errorf("%q is no address, network or domain", what)
	case facts.OrgDomain(domain) == "":
		return "", fmt.Errorf("%q is a public suffix, under which anybody can have a name", domain)
	}
	return domain + network, nil
}

// domainName brings a domain into the form of identities: lower case, A-labels, no dot at the end.
func domainName(text string) (string, bool) {
	name := checks.ParseAddress("x@" + text).Domain
	return name, headers.CheckDomain(name) == nil && strings.Contains(name, ".")
}

// Forget removes what Show shows, and tells how many records that were. Without a selection it is an error.
func Forget(ctx context.Context, store checks.Store, what string) (int, error) {
	if strings.TrimSpace(what) == "" {
		return 0, errors.New("forget what? An address, network, domain or mailbox is wanted")
	}
	var keys []string // first all of them: a store need not like to be changed while it is gone through
	for f, err := range find(ctx, store, what) {
		if err != nil {
			return 0, err
		}
		keys = append(keys, f.key)
	}
	for c, err := range Clients(ctx, store, what) {
		if err != nil {
			return 0, err
		}
		keys = append(keys, clientKey+c.Identity)
	}
	for i, key := range keys {
		if err := store.Delete(ctx, key); err != nil {
			return i, err
		}
	}
	return len(keys), nil
}

func (r record) triplet(now time.Time) Triplet {
	t := Triplet{
		Identity: r.Identity, From: r.From, To: r.To, Client: r.Client, Suspicion: r.Why, Attempts: r.Attempts, State: r.state(now),
		First: at(r.First), Last: at(r.Last), Back: at(r.Back), Passed: at(r.Passed), Until: at(r.Until),
	}
	return t
}

func (r record) state(now time.Time) State {
	switch {
	case r.Passed != 0:
		return Passed
	case now.Unix() <= r.Until:
		return Waiting
	default:
		return Gone
	}
}

func (c clientRecord) client(name string) Client {
	return Client{Identity: name, Passes: c.Passes, Counted: at(c.Counted), Used: at(c.Used), Client: c.Client, Allowed: c.Allowed}
}

// at is a time of a record; zero if it did not happen.
func at(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}

// selector is an operator's choice.
type selector struct {
	text    string
	mailbox string // in the form of a record's sender; empty if it is none
	network netip.Prefix
}

// newSelector reads an address, a network, a domain, a mailbox, or an identity as it is shown. Whatever else is an error: that
// nothing is found would be no answer to it.
func newSelector(what string) (selector, error) {
	sel := selector{text: strings.ToLower(strings.TrimSpace(what))}
	domain, _, both := strings.Cut(sel.text, " ")
	switch {
	case sel.text == "":
		return sel, nil
	case strings.Contains(sel.text, "@"):
		a := checks.ParseAddress(strings.TrimSpace(what))
		sel.mailbox = strings.ToLower(facts.StableSender(a))
		if a.Local != "" {
			return sel, nil
		}
	case checks.LooksLikeNetwork(domain) && !both:
		p, err := netip.ParsePrefix(sel.text)
		if a, errAddr := netip.ParseAddr(sel.text); errAddr == nil {
			p, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
		}
		if sel.network = p.Masked(); err == nil {
			return sel, nil
		}
	default:
		if !both { // also a top-level domain, for all below it
			name, ok := domainName(domain)
			if sel.text = name; ok || headers.CheckDomain(name) == nil {
				return sel, nil
			}
		} else if _, err := clientName(sel.text); err == nil {
			return sel, nil
		}
	}
	return selector{}, fmt.Errorf("%q is no address, network, domain or mailbox", what)
}

func (sel selector) triplet(r record) bool {
	if sel.mailbox != "" {
		from := strings.ToLower(r.From)
		return from == sel.mailbox || from == sel.text || r.To == sel.text
	}
	if sel.identity(r.Identity) || sel.address(r.Client) {
		return true
	}
	_, domain, _ := strings.Cut(r.From, "@")
	return checks.Under(domain, sel.text)
}

func (sel selector) client(name string, r clientRecord) bool {
	return sel.mailbox == "" && (sel.identity(name) || sel.address(r.Client))
}

// identity tells whether a client identity is selected, in the form of Identity.String or Narrow.
func (sel selector) identity(name string) bool {
	domain, _, _ := strings.Cut(name, " ")
	return sel.text == "" || name == sel.text || checks.Under(domain, sel.text) || sel.address(name)
}

func (sel selector) address(text string) bool {
	if !sel.network.IsValid() {
		return false
	}
	a, err := netip.ParseAddr(text)
	return err == nil && sel.network.Contains(a)
}
