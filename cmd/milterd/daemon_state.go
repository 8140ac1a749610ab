package main

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/access"
	"milterd/checks/counters"
	"milterd/checks/greylist"
	"milterd/checks/rate"
	"milterd/milter/records"
)

// state is what the daemon knows now of a client and of addresses: for the command why, and for the page of a decision.
type state struct {
	Lists        []access.Entry     `json:"lists"`
	Block        *counters.Blocked  `json:"block,omitempty"`
	SenderBlocks []counters.Blocked `json:"sender_blocks,omitempty"` // of single domains' mail from a good sender
	Triplets     []greylist.Triplet `json:"triplets"`
	Clients      []greylist.Client  `json:"clients"`
	Greylisted   int                `json:"held"` // number of all triplets and clients, of which Triplets and Clients are the first
	Rates        []rate.Count       `json:"rates"`
	Domain       string             `json:"domain,omitempty"` // organisational domain of the sender
	Good         bool               `json:"good"`             // the domain is a good sender
}

// maxStateItems is the number of triplets and clients of greylisting, and of blocks of senders, in one state.
const maxStateItems = 5

// subjects says whose state is wanted. An empty field adds nothing.
type subjects struct {
	client   netip.Addr
	names    []string // addresses of senders, domains, and names of hosts or users
	greylist string   // whose triplets and clients are wanted, see greylist.List
	domain   string   // of senders whose evidence is wanted
}

// subjectsOf returns the subjects of a decision.
func subjectsOf(r records.Record) subjects {
	s := subjects{client: r.Client, domain: checks.ParseAddress(r.MailFrom).Domain}
	s.greylist = r.MailFrom
	if r.Client.IsValid() {
		s.greylist = r.Client.String()
	}
	for _, name := range []string{r.MailFrom, r.Helo, r.Detail("user")} {
		if name != "" && !slices.Contains(s.names, name) {
			s.names = append(s.names, name)
		}
	}
	return s
}

// stateOf returns the state of subjects.
func (d *daemon) stateOf(ctx context.Context, s subjects) (state, error) {
	now := time.Now()
	st := state{Lists: []access.Entry{}, Triplets: []greylist.Triplet{}, Clients: []greylist.Client{}, Rates: []rate.Count{}}
	names := s.names
	if s.client.IsValid() {
		names = append([]string{s.client.String()}, names...)
	}
	if err := d.addBlocks(ctx, &st, s, now); err != nil {
		return st, err
	}
	for _, name := range names {
		for _, e := range d.lists().Look(ctx, now, name) {
			if !slices.Contains(st.Lists, e) {
				st.Lists = append(st.Lists, e)
			}
		}
		if err := d.addRates(ctx, &st, name, now); err != nil {
			return st, err
		}
	}
	if s.greylist != "" {
		if err := d.addGreylisting(ctx, &st, s.greylist, now); err != nil {
			return st, err
		}
	}
	if st.Domain = checks.OrgDomain(s.domain); st.Domain != "" {
		st.Good = d.evidence.IsGood(st.Domain)
	}
	return st, nil
}

// addBlocks adds the blocks of a client, or those of a domain's mail.
func (d *daemon) addBlocks(ctx context.Context, st *state, s subjects, now time.Time) (err error) {
	client, domain := checks.ClientOf(s.client), s.domain
	if s.client.IsValid() {
		domain = ""
		if st.Block, err = counters.Covering(ctx, d.store, client, now); err != nil {
			return err
		}
	}
	list, err := counters.SenderBlocks(ctx, d.store, client, domain, now)
	st.SenderBlocks = list[:min(len(list), maxStateItems)]
	return err
}

// blocks returns all blocks.
func (st state) blocks() []counters.Blocked {
	if st.Block == nil {
		return st.SenderBlocks
	}
	return append([]counters.Blocked{*st.Block}, st.SenderBlocks...)
}

func (d *daemon) addRates(ctx context.Context, st *state, name string, now time.Time) error {
	c, ok := d.pipeline.Load().Check(rate.Info.Name).(rate.Counter)
	if !ok {
		return nil
	}
	counts, err := c.Counts(ctx, now, name)
	st.Rates = append(st.Rates, counts...)
	return err
}

func (d *daemon) addGreylisting(ctx context.Context, st *state, what string, now time.Time) error {
	sel, err := greylist.Show(ctx, d.store, now, what)
	if err != nil {
		return err
	}
	slices.SortFunc(sel.Triplets, func(a, b greylist.Triplet) int {
		return cmp.Or(b.Last.Compare(a.Last), strings.Compare(a.From+a.To, b.From+b.To))
	})
	st.Greylisted = len(sel.Triplets) + len(sel.Clients)
	st.Triplets = append(st.Triplets, sel.Triplets[:min(len(sel.Triplets), maxStateItems)]...)
	st.Clients = append(st.Clients, sel.Clients[:min(len(sel.Clients), maxStateItems)]...)
	return nil
}

// known reports whether anything is known.
func (st state) known() bool {
	return len(st.Lists)+len(st.blocks())+st.Greylisted+len(st.Rates) > 0 || st.Good
}
