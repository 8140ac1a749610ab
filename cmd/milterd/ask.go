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
	"milterd/checks/greylist"
	"milterd/milter/records"
)

func newWhy(configFile *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "why CLIENT|ADDRESS|DOMAIN|USER|SESSION|LINK [RECIPIENT]",
		Short: "Show why mail was refused, and all that is known of a client, sender, user or session",
		Long: `Show what the daemon knows now: entries of lists, the block, greylisting, how far limits are used up, whether the sender is known to
be good, and the last decisions, the last refusal with its trace. Each is shown with the command that changes it.

CLIENT is the address of a client, ADDRESS a mailbox (of a sender or a recipient), USER a user who authenticates, SESSION the id in a
line of the log, LINK the link in a reply or what follows r= in it. With RECIPIENT, only the mail of a sender or client to that mailbox
or domain counts. The exit status is 1 if nothing is known.`,
		Example: `  milterd why 192.0.2.9
  milterd why alice@example.net bob@example.org
  milterd why https://mx.example.org/why/rdns-missing?r=...`,
		Args: oneOrTwoArguments,
	}
	r := newRemote(cmd, configFile)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return call(cmd, r, "why", whyArgs{What: args[0], Rcpt: strings.Join(args[1:], "")}, showWhy)
	}
	return cmd
}

// whyArgs are the arguments of the function why.
type whyArgs struct {
	What string `json:"what"`
	Rcpt string `json:"rcpt,omitempty"` // only mail to this recipient; What is a sender or a client
}

// knowledge is what the daemon knows of a subject.
type knowledge struct {
	What   string `json:"what"`
	Rcpt   string `json:"rcpt,omitempty"`
	Kind   string `json:"kind"` // client, mailbox, domain, user, session, refusal, or sender of mail to Rcpt
	Client string `json:"client,omitempty"`
	state
	Decisions []records.Record `json:"decisions"` // the newest first, without traces
	Decision  *records.Record  `json:"decision,omitempty"`
}

const maxDecisions = 5 // decisions in one screen

// why returns what is known of a subject, or an error if that is nothing.
func (d *daemon) why(ctx context.Context, a whyArgs) (knowledge, error) {
	k := knowledge{What: strings.TrimSpace(a.What), Rcpt: strings.TrimSpace(a.Rcpt), Decisions: []records.Record{}}
	q, err := k.query()
	if err != nil {
		return k, err
	}
	if err := d.addDecisions(ctx, &k, q); err != nil {
		return k, err
	}
	if k.Kind == "session" && k.Decision == nil {
		k.Kind = "user" // a name may look like the id of a session
	}
	if k.Kind == "refusal" && k.Decision == nil {
		return k, fmt.Errorf("no decision about %s is kept (records.keep)", k.What)
	}
	if k.state, err = d.stateOf(ctx, k.subjects()); err != nil {
		return k, err
	}
	if !k.known() && len(k.Decisions) == 0 {
		return k, fmt.Errorf("nothing is known of %s: no entry of a list, no block, no greylisting, no recipients counted, no decision; a SESSION is the 12 characters after session= in the log", k.What)
	}
	return k, nil
}

// subjects returns whose state is shown.
func (k *knowledge) subjects() subjects {
	if k.Rcpt != "" && k.Decision != nil {
		return k.ofDecision(*k.Decision)
	}
	switch k.Kind {
	case "client":
		client, err := netip.ParseAddr(k.What)
		if err != nil { // a network
			return subjects{names: []string{k.What}, held: k.What}
		}
		k.Client = client.String()
		s := subjects{client: client, held: k.What}
		if k.Decision != nil {
			s.senders = checks.ParseAddress(k.Decision.MailFrom).Domain
		}
		return s
	case "session", "refusal":
		return k.ofDecision(*k.Decision)
	case "user":
		return subjects{names: []string{k.What}}
	case "domain":
		return subjects{names: []string{k.What}, held: k.What, senders: k.What}
	default:
		return subjects{names: []string{k.What}, held: k.What, senders: checks.ParseAddress(k.What).Domain}
	}
}

// ofDecision returns the subjects of a decision.
func (k *knowledge) ofDecision(r records.Record) subjects {
	s := subjectsOf(r)
	if s.client.IsValid() {
		k.Client = s.client.String()
	}
	return s
}

// query finds out what kind of subject there is, and returns the queries for its decisions; more than one, as a mailbox may be that
// of a sender or a recipient.
func (k *knowledge) query() ([]records.Query, error) {
	id := records.IDIn(k.What)
	switch {
	case k.Rcpt != "":
		k.Kind = "sender"
		if checks.LooksLikeNetwork(k.What) {
			k.Kind = "client"
			return []records.Query{{Client: k.What, Rcpt: k.Rcpt}}, nil
		}
		return []records.Query{{Sender: k.What, Rcpt: k.Rcpt}}, nil
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
	if strings.ContainsAny(k.What, " <>?/") || k.What == "" {
		return nil, checks.BadArgument("%q is no address, mailbox, domain, user, session id or link", k.What)
	}
	k.Kind = "user"
	return nil, nil
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
	show := slices.IndexFunc(k.Decisions, func(r records.Record) bool { return r.Reply != "" || len(r.Quarantined) > 0 })
	if len(k.Decisions) > 0 {
		one := k.Decisions[max(show, 0)]
		k.Decision = &one
	}
	for i := range k.Decisions {
		k.Decisions[i].Checks = nil
	}
	return nil
}

func showWhy(w io.Writer, k knowledge) {
	fmt.Fprintf(w, "%s\t%s\n", k.Kind, printableLine(k.What))
	if k.Rcpt != "" {
		fmt.Fprintf(w, "recipient\t%s\n", printableLine(k.Rcpt))
	}
	for _, e := range k.Lists {
		change := "milterd access remove " + e.Entry
		place := ""
		if e.File != "" {
			place, change = fmt.Sprintf(" in %s:%d", e.File, e.Line), "edit the file"
		}
		fmt.Fprintf(w, "list\t%s %s%s%s\t%s\n", e.List, e.Entry, untilOf(e.Until), place, change)
	}
	who := cmp.Or(k.Client, k.What)
	listed := who
	if k.Kind == "sender" {
		listed = k.What
	}
	if len(k.Lists) == 0 && k.Kind != "user" {
		fmt.Fprintf(w, "list\tnone\tmilterd access allow %[1]s; milterd access deny %[1]s\n", listed)
	}
	blocks := k.blocks()
	for _, b := range blocks {
		fmt.Fprintf(w, "block\t%s%s for %s\tmilterd block remove %s\n", shownPrefix(b.Client), untilOf(b.Until), printableLine(b.Why), shownPrefix(b.Client))
	}
	if len(blocks) == 0 && k.Client != "" {
		fmt.Fprintf(w, "block\tnone\tmilterd block add %s\n", k.Client)
	}
	showGreylist(w, k, who)
	for _, c := range k.Rates {
		fmt.Fprintf(w, "rate\t%s, until %s\tedit %s, then systemctl reload milterd\n", c, formatTime(c.Until), c.Key())
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
		for _, r := range k.Decisions {
			showVouches(w, r)
		}
	}
	if k.Decision != nil {
		fmt.Fprintln(w)
		showRecord(w, *k.Decision)
	}
}

// showGreylist shows what greylisting knows, with the commands that change it. who is the client, or what was asked for.
func showGreylist(w io.Writer, k knowledge, who string) {
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
	if more := k.Held - len(k.Triplets) - len(k.Clients); more > 0 {
		fmt.Fprintf(w, "greylist\t%d more\tmilterd greylist show %s\n", more, who)
	}
}

// showVouches shows what was waived for an accepted message, and by what.
func showVouches(w io.Writer, r records.Record) {
	var parts []string
	if len(r.Waived) > 0 {
		parts = append(parts, "waived "+strings.Join(r.Waived, ", "))
	}
	for _, v := range r.Vouches {
		parts = append(parts, v.String())
	}
	if len(parts) > 0 {
		fmt.Fprintf(w, "%s: %s\n", r.Session, printableLine(strings.Join(parts, "; ")))
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
