package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/milter/records"
)

func newWhy(configFile *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "why CLIENT|ADDRESS|DOMAIN|USER|SESSION|QUEUEID|LINK [RECIPIENT]",
		Short: "Show why mail was refused, and all that is known of a client, sender, user, session or message",
		Long: `Show what the daemon knows now: entries of lists, the block, greylisting, how far limits are used up, whether the sender is known to
be good, and the last decisions, the last refusal with its trace. Each is shown with the command that changes it.

CLIENT is the address of a client, ADDRESS a mailbox (of a sender or a recipient), USER a user who authenticates, SESSION the id in a
line of the log, QUEUEID the id of a message in the log of the mail server, LINK the link in a reply or what follows r= in it. With
RECIPIENT, only the mail of a sender or client to that mailbox or domain counts. The exit status is 1 if nothing is known.`,
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

// nullPath is the null reverse-path. Nothing but decisions is known of it.
const nullPath = "<>"

// knowledge is the result of the function why: the state of a subject and the decisions about it.
type knowledge struct {
	What   string `json:"what"`
	Rcpt   string `json:"rcpt,omitempty"`
	Kind   string `json:"kind"` // client, mailbox, domain, user, session, message, refusal, or sender of mail to Rcpt
	Client string `json:"client,omitempty"`
	state
	Decisions []records.Record `json:"decisions"` // the newest first, without traces
	Decision  *records.Record  `json:"decision,omitempty"`

	// Of a refused Decision: what its sender can do, and the link in the reply.
	Remedy string `json:"remedy,omitempty"`
	Link   string `json:"link,omitempty"`

	Local bool `json:"local,omitempty"` // What is a mailbox or domain of this site
}

const maxDecisions = 5 // decisions in one screen

// why returns what is known of a subject, or an error if that is nothing.
func (d *daemon) why(ctx context.Context, a whyArgs) (knowledge, error) {
	k := knowledge{What: strings.TrimSpace(a.What), Rcpt: strings.TrimSpace(a.Rcpt), Decisions: []records.Record{}}
	if domain, ok := strings.CutPrefix(k.What, "@"); ok && !strings.Contains(domain, "@") {
		k.What = domain // lists write @DOMAIN
	}
	if network, err := netip.ParsePrefix(k.What); err == nil {
		k.What = network.Masked().String() // the commands shown take no other form, see wholeNetwork
	}
	kind, queries, err := kindOf(k.What, k.Rcpt)
	if err != nil {
		return k, err
	}
	k.Kind = kind
	if err := d.addDecisions(ctx, &k, queries); err != nil {
		return k, err
	}
	if k.isUser() {
		k.Kind = "user"
	}
	if k.Kind == "domain" { // not the name of a user, which may have other letters than ASCII
		k.What = cmp.Or(checks.ToALabels(k.What), k.What)
	}
	if k.Kind == "user" && k.Decision == nil {
		if err := d.addMessage(ctx, &k); err != nil {
			return k, err
		}
	}
	if k.Kind == "refusal" && k.Decision == nil {
		return k, fmt.Errorf("no decision about %s is kept (records.keep)", k.What)
	}
	domain := cmp.Or(checks.ParseAddress(k.What).Domain, k.What)
	k.Local = (k.Kind == "mailbox" || k.Kind == "domain") && siteOf(d.config()).IsLocal(domain)
	s := k.subjects()
	if s.client.IsValid() {
		k.Client = s.client.String()
	}
	if k.state, err = d.stateOf(ctx, s); err != nil {
		return k, err
	}
	if k.Decision != nil {
		k.Remedy, k.Link = d.answer(*k.Decision)
	}
	if !k.known() && len(k.Decisions) == 0 {
		if slices.Contains(reasonIDs(), k.What) {
			return k, isReason(k.What)
		}
		return k, fmt.Errorf("nothing is known of %s: no entry of a list, no block, no greylisting, no recipients counted, no decision; "+
			"a SESSION is the %d characters after session= in the log, the case of a QUEUEID matters", k.What, sessionID)
	}
	return k, nil
}

// kindOf returns the kind of a subject and the queries for its decisions. A mailbox has several, as it may be that of a sender or a
// recipient. With rcpt, only mail to this recipient counts.
func kindOf(what, rcpt string) (kind string, queries []records.Query, err error) {
	id := records.IDIn(what)
	switch {
	case rcpt != "" && (strings.Contains(what, "@") || !checks.LooksLikeNetwork(what)):
		return "sender", []records.Query{{Sender: what, Rcpt: rcpt}}, nil
	case strings.Contains(what, "@"), what == nullPath: // before a link: a mailbox such as owner=example.org@lists.example.net
		return "mailbox", []records.Query{{Sender: what}, {Rcpt: what}, {User: what}}, nil
	case strings.Contains(what, "://") || strings.Contains(what, "r="):
		if id == "" {
			return "", nil, checks.BadArgument("%q is no link of a reply: want all of it, or the part after r=", what)
		}
		return "refusal", []records.Query{{ID: id}}, nil
	case checks.LooksLikeNetwork(what):
		_, err := parseClient(what)
		return "client", []records.Query{{Client: what, Rcpt: rcpt}}, err
	case strings.Contains(what, "."):
		return "domain", []records.Query{{Sender: what}, {Client: what}, {Rcpt: what}, {User: what}}, nil
	case id != "" && len(what) > sessionID:
		return "refusal", []records.Query{{ID: id}}, nil
	case len(what) == sessionID:
		return "session", []records.Query{{Session: strings.ToLower(what)}, {User: what}}, nil
	case strings.ContainsAny(what, " <>?/") || what == "":
		return "", nil, checks.BadArgument("%q is no address, mailbox, domain, user, session id or link", what)
	default:
		return "user", []records.Query{{User: what}}, nil
	}
}

// isUser reports whether a subject that looks like the id of a session or like a domain is the name of a user.
func (k knowledge) isUser() bool {
	switch k.Kind {
	case "session":
		return k.Decision == nil || k.Decision.Session != strings.ToLower(k.What)
	case "domain":
		return k.Decision != nil && k.Decision.Detail("user") == k.What
	default:
		return false
	}
}

// addDecisions adds the last decisions, and the last refusal with its trace. For a queue id, that is a refusal of the message: one
// without the id is about a recipient, or an earlier transaction with the same reverse-path.
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
	show := slices.IndexFunc(k.Decisions, func(r records.Record) bool {
		return (r.Reply != "" || len(r.Quarantined) > 0) && (queries[0].QueueID == "" || r.QueueID == queries[0].QueueID)
	})
	if len(k.Decisions) > 0 {
		one := k.Decisions[max(show, 0)]
		if one.Action == records.Accept {
			one.Outcomes, one.Checks = watchedIn(k.Decisions, one)
		}
		k.Decision = &one
	}
	for i := range k.Decisions {
		k.Decisions[i].Checks = nil
	}
	return nil
}

// watchedIn returns the reasons that applied to an accepted message and the checks that ran. Its record has neither, but the other
// decisions of its session have.
func watchedIn(decisions []records.Record, accepted records.Record) (outcomes []records.Outcome, ran []records.Check) {
	for _, r := range slices.Backward(decisions) { // the oldest first
		if r.Session != accepted.Session || r.MailFrom != accepted.MailFrom || r.QueueID != "" && r.QueueID != accepted.QueueID {
			continue
		}
		for _, o := range r.Outcomes {
			if r.Reply != "" && o.Reason == r.Reason {
				continue // it refused another recipient or an earlier transaction
			}
			if !slices.ContainsFunc(outcomes, func(has records.Outcome) bool { return has.Reason == o.Reason }) {
				outcomes = append(outcomes, o)
			}
		}
		for _, c := range r.Checks {
			if !slices.ContainsFunc(ran, func(has records.Check) bool { return has.Check == c.Check && has.Stage == c.Stage }) {
				ran = append(ran, c)
			}
		}
	}
	return outcomes, ran
}

// addMessage adds the decisions about the last message with the queue id, as mail servers use an id again. Naming the reverse-path
// leaves out most earlier transactions of its session.
func (d *daemon) addMessage(ctx context.Context, k *knowledge) error {
	if d.records == nil {
		return nil
	}
	list, err := d.records.Find(ctx, records.Query{QueueID: k.What, Max: 1, Trace: true})
	if err != nil || len(list) == 0 {
		return err
	}
	last := list[0]
	err = d.addDecisions(ctx, k, []records.Query{{QueueID: k.What, Session: last.Session, Sender: cmp.Or(last.MailFrom, nullPath), Until: last.Time}})
	if k.Decision != nil { // else they have expired since
		k.Kind = "message"
	}
	return err
}

// subjects returns whose state is shown.
func (k knowledge) subjects() subjects {
	if k.Kind == "session" || k.Kind == "message" || k.Kind == "refusal" || k.Rcpt != "" && k.Decision != nil {
		return subjectsOf(*k.Decision)
	}
	if k.What == nullPath {
		return subjects{}
	}
	s := subjects{names: []string{k.What}, greylist: k.What, domain: cmp.Or(checks.ParseAddress(k.What).Domain, k.What)}
	switch k.Kind {
	case "client":
		s.domain = ""
		if client, err := netip.ParseAddr(k.What); err == nil { // else it is a network
			s.client, s.names = client, nil
			if k.Decision != nil {
				s.domain = checks.ParseAddress(k.Decision.MailFrom).Domain
			}
		}
	case "user":
		s.greylist, s.domain = "", ""
	}
	if k.Local {
		s.domain = ""
	}
	return s
}

// answer returns what the sender of refused mail can do, and the link of the reply, or nothing of mail that was let in.
func (d *daemon) answer(r records.Record) (remedy, link string) {
	if r.Reply == "" {
		return "", ""
	}
	for _, reason := range all.Reasons() {
		if reason.ID == r.Reason {
			remedy = reason.Remedy
		}
	}
	if d.linkURL != "" {
		link = d.linkTo(r.Reason, r.ID)
	}
	return remedy, link
}
