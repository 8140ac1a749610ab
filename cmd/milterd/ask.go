package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/access"
	"milterd/checks/counters"
	"milterd/checks/facts"
	"milterd/checks/greylist"
	"milterd/milter/records"
)

func newWhy(configFile *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "why CLIENT|ADDRESS|DOMAIN|SESSION|LINK",
		Short: "Show all that the daemon knows of a client, a mailbox, a domain, a session or a refusal",
		Long: `Show what the daemon knows now: entries of lists, the block, greylisting, whether the sender is known to be good, and the last
decisions, the last refusal with its trace. Each is shown with the command that changes it.

CLIENT is the address of a client, ADDRESS a mailbox (of a sender or a recipient), SESSION the id in a line of the log, LINK the link in a
reply or what follows r= in it. The exit status is 1 if nothing is known.`,
		Example: `  milterd why 192.0.2.9
  milterd why alice@example.net
  milterd why https://mx.example.org/why/rdns-missing?r=...`,
		Args: oneArgument,
	}
	r := newRemote(cmd, configFile)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return call(cmd, r, "why", whyArgs{What: args[0]}, showWhy)
	}
	return cmd
}

// whyArgs are the arguments of the function why.
type whyArgs struct {
	What string `json:"what"`
}

// knowledge is what the daemon knows of a subject.
type knowledge struct {
	What         string             `json:"what"`
	Kind         string             `json:"kind"` // client, mailbox, domain, session or refusal
	Client       string             `json:"client,omitempty"`
	Lists        []access.Entry     `json:"lists"`
	Block        *counters.Blocked  `json:"block,omitempty"`
	SenderBlocks []counters.Blocked `json:"sender_blocks,omitempty"` // of single domains' mail from a good sender
	Triplets     []greylist.Triplet `json:"triplets"`
	Clients      []greylist.Client  `json:"clients"`
	Domain       string             `json:"domain,omitempty"` // organisational domain
	Good         bool               `json:"good"`             // the domain is a good sender
	Decisions    []records.Record   `json:"decisions"`        // the newest first, without traces
	Decision     *records.Record    `json:"decision,omitempty"`
}

// known reports whether anything is known.
func (k knowledge) known() bool {
	return len(k.Lists)+len(k.SenderBlocks)+len(k.Triplets)+len(k.Clients)+len(k.Decisions) > 0 || k.Block != nil || k.Decision != nil || k.Good
}

const (
	maxDecisions = 5 // decisions in one screen
	maxHeld      = 5 // triplets and clients of greylisting, and blocks of senders, likewise
)

// why returns what is known of a subject, or an error if that is nothing.
func (d *daemon) why(ctx context.Context, a whyArgs) (knowledge, error) {
	k := knowledge{What: strings.TrimSpace(a.What), Lists: []access.Entry{}, Triplets: []greylist.Triplet{}, Clients: []greylist.Client{}, Decisions: []records.Record{}}
	q, err := k.query()
	if err != nil {
		return k, err
	}
	if err := d.addDecisions(ctx, &k, q); err != nil {
		return k, err
	}
	subject := k.What
	if k.Kind == "session" || k.Kind == "refusal" {
		if k.Decision == nil && len(k.Decisions) == 0 {
			return k, fmt.Errorf("no decision about %s is kept (records.keep)", k.What)
		}
		subject = k.ofDecision()
	}
	if subject != "" {
		if err := d.addState(ctx, &k, subject); err != nil {
			return k, err
		}
	}
	if !k.known() {
		return k, fmt.Errorf("nothing is known of %s: no entry of a list, no block, no greylisting, no decision", k.What)
	}
	return k, nil
}

// query finds out what kind of subject there is, and returns the queries for its decisions; more than one, as a mailbox may be that
// of a sender or a recipient.
func (k *knowledge) query() ([]records.Query, error) {
	id := records.IDIn(k.What)
	switch {
	case strings.Contains(k.What, "://") || strings.Contains(k.What, "r="):
		if id == "" {
			return nil, checks.BadArgument("%q is no link of a reply: want all of it, or the part after r=", k.What)
		}
		k.Kind = "refusal"
		return []records.Query{{ID: id}}, nil
	case strings.Contains(k.What, "@"), k.What == "<>":
		k.Kind = "mailbox"
		return []records.Query{{Sender: k.What}, {Rcpt: k.What}}, nil
	case checks.LooksLikeNetwork(k.What):
		if _, err := parseClient(k.What); err != nil {
			return nil, err
		}
		k.Kind = "client"
		return []records.Query{{Client: k.What}}, nil
	case strings.Contains(k.What, "."):
		k.Kind = "domain"
		return []records.Query{{Sender: k.What}, {Client: k.What}, {Rcpt: k.What}}, nil
	case id != "" && len(k.What) > sessionID:
		k.Kind = "refusal"
		return []records.Query{{ID: id}}, nil
	case len(k.What) == sessionID:
		k.Kind = "session"
		return []records.Query{{Session: strings.ToLower(k.What)}}, nil
	}
	return nil, checks.BadArgument("%q is no address, mailbox, domain, session id or link", k.What)
}

// sessionID is the length of the id of a session, see newID.
const sessionID = 12

// addDecisions adds the last decisions, and the last refusal with its trace.
func (d *daemon) addDecisions(ctx context.Context, k *knowledge, queries []records.Query) error {
	if d.records == nil {
		return nil
	}
	for _, q := range queries {
		q.Max, q.Trace = maxDecisions, true
		list, err := d.records.Find(ctx, q)
		if err != nil {
			return err
		}
		k.Decisions = append(k.Decisions, list...)
	}
	slices.SortStableFunc(k.Decisions, func(a, b records.Record) int { return cmp.Compare(b.Number, a.Number) })
	k.Decisions = slices.CompactFunc(k.Decisions, func(a, b records.Record) bool { return a.Number == b.Number })
	k.Decisions = k.Decisions[:min(len(k.Decisions), maxDecisions)]
	show := slices.IndexFunc(k.Decisions, func(r records.Record) bool { return r.Reply != "" })
	if len(k.Decisions) > 0 {
		one := k.Decisions[max(show, 0)]
		k.Decision = &one
	}
	for i := range k.Decisions {
		k.Decisions[i].Checks = nil
	}
	return nil
}

// ofDecision returns the client of the decision, or its sender if the client is unknown.
func (k *knowledge) ofDecision() string {
	r := k.Decisions[0]
	if k.Decision != nil {
		r = *k.Decision
	}
	if r.Client.IsValid() {
		return r.Client.String()
	}
	return r.MailFrom
}

// addState adds what lists, blocks, greylisting and evidence have.
func (d *daemon) addState(ctx context.Context, k *knowledge, subject string) error {
	now := time.Now()
	domain := subject
	if strings.Contains(subject, "@") {
		domain = checks.ParseAddress(subject).Domain
	}
	var client netip.Prefix
	k.Lists = append(k.Lists, d.lookAccess(ctx, subject)...)
	if addr, err := netip.ParseAddr(subject); err == nil {
		k.Client = addr.String()
		client = counters.ClientOf(addr)
		if k.Block, err = counters.Covering(ctx, d.store, client, now); err != nil {
			return err
		}
	}
	sel, err := greylist.Show(ctx, d.store, now, subject)
	if err != nil {
		return err
	}
	k.Triplets = append(k.Triplets, sel.Triplets[:min(len(sel.Triplets), maxHeld)]...)
	k.Clients = append(k.Clients, sel.Clients[:min(len(sel.Clients), maxHeld)]...)
	list, err := counters.SenderBlocks(ctx, d.store, client, domain, now)
	if err != nil {
		return err
	}
	k.SenderBlocks = list[:min(len(list), maxHeld)]
	if k.Client != "" {
		domain = ""
		if k.Decision != nil {
			domain = checks.ParseAddress(k.Decision.MailFrom).Domain
		}
	}
	if k.Domain = facts.OrgDomain(domain); k.Domain != "" {
		k.Good = d.evidence.IsGood(k.Domain)
	}
	return nil
}

func showWhy(w io.Writer, k knowledge) {
	fmt.Fprintf(w, "%s\t%s\n", k.Kind, printableLine(k.What))
	for _, e := range k.Lists {
		change := "milterd access remove " + e.Entry
		place := ""
		if e.File != "" {
			place, change = fmt.Sprintf(" in %s:%d", e.File, e.Line), "edit the file"
		}
		fmt.Fprintf(w, "list\t%s %s%s%s\t%s\n", e.List, e.Entry, untilOf(e.Until), place, change)
	}
	who := cmp.Or(k.Client, k.What)
	if len(k.Lists) == 0 && k.Kind != "session" && k.Kind != "refusal" {
		fmt.Fprintf(w, "list\tnone\tmilterd access allow %[1]s; milterd access deny %[1]s\n", who)
	}
	blocks := k.SenderBlocks
	if k.Block != nil {
		blocks = append([]counters.Blocked{*k.Block}, blocks...)
	}
	for _, b := range blocks {
		fmt.Fprintf(w, "block\t%s%s for %s\tmilterd block remove %s\n", shownPrefix(b.Client), untilOf(b.Until), printableLine(b.Why), shownPrefix(b.Client))
	}
	if len(blocks) == 0 && k.Client != "" {
		fmt.Fprintf(w, "block\tnone\tmilterd block add %s\n", k.Client)
	}
	for _, t := range k.Triplets {
		fmt.Fprintf(w, "greylist\t%s: <%s> to <%s>, %d attempts%s\tmilterd greylist forget %s\n", t.State, printableName(t.From), printableName(t.To),
			t.Attempts, suspicionOf(t), cmp.Or(t.Client, who))
	}
	for _, c := range k.Clients {
		fmt.Fprintf(w, "greylist\t%s passed %d times\tmilterd greylist forget %s\n", c.Identity, c.Passes, who)
	}
	if len(k.Triplets)+len(k.Clients) == 0 && k.Client != "" {
		fmt.Fprintf(w, "greylist\tnot known\tmilterd greylist allow %s\n", k.Client)
	}
	if k.Domain != "" {
		good := "not known to be a good sender"
		if k.Good {
			good = "a good sender: not blocked, and evidence against reasons that refuse it"
		}
		fmt.Fprintf(w, "evidence\t%s is %s\tmilterd report action\n", k.Domain, good)
	}
	if len(k.Decisions) > 0 {
		fmt.Fprintln(w)
		showRecords(w, k.Decisions)
	}
	if k.Decision != nil {
		fmt.Fprintln(w)
		showRecord(w, *k.Decision)
	}
}

func untilOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " until " + formatTime(t)
}

func suspicionOf(t greylist.Triplet) string {
	if t.Suspicion == "" {
		return ""
	}
	return ", for " + t.Suspicion
}

// shownPrefix returns an address, or a network in CIDR notation.
func shownPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
