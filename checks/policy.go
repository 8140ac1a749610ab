package checks

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
)

// Options is the operator's policy. The zero value is of no use: New asks for an action for every reason.
type Options struct {
	Actions     map[string]Action // reason id -> action; one for every reason of the checks given to New
	Policies    []Policy          // for some recipients; the first that matches wins
	Exempt      RecipientSet      // recipients whom every mail reaches
	Trusted     Trusted           // clients that no check is asked about
	ReplyAt     Stage             // MailFrom or RcptTo: where client, HELO and sender reasons answer
	OnError     Action            // Tempfail, or anything else to accept, when a check could not find out
	Budget      time.Duration     // for all checks of one callback together
	Trace       Trace             // which decisions tell every check with its questions in Decision.Results
	Announce    Announcer         // asks questions ahead; nil: none are
	Escalate    time.Duration     // for how long the 5yz of a reason of Identity is 4yz to a client; 0: not at all
	Store       Store             // remembers that; nil if Escalate is 0
	Clock       *Clock            // how far the time of sessions is to be believed there; nil: wholly
	TraceFields TraceFields       // what is written into messages that are let in

	// ClientNamed tells whether match takes a confirmed name of the client (lower case, no trailing dot), for Policy.Forwarders. With
	// an error it is false, and might be true. nil: it has no names.
	ClientNamed func(ctx context.Context, s *Session, match func(name string) bool) (bool, error)

	// Took is told how long a check took, each time one is asked. It must be quick. nil: nobody is told.
	Took func(check string, d time.Duration)

	// Link makes the link that ends a reply, and the id of the record that it refers to. It must be quick. nil: no links.
	Link func(r *Reason, at time.Time) (record, link string)
}

// Policy is other actions for some recipients.
type Policy struct {
	Recipients RecipientSet
	Actions    map[string]Action // as Options.Actions: complete
	Forwarders Forwarders        // where these recipients have mail passed on to here
}

// Forwarders are clients that pass on what others have sent: who may send for a domain, and how the client is listed, says
// nothing then. The zero value is empty.
type Forwarders struct {
	Networks []netip.Prefix
	Names    []string // host names and domains with all below them, lower case, no trailing dot
}

func (f Forwarders) hasAddr(client netip.Addr) bool {
	return slices.ContainsFunc(f.Networks, func(n netip.Prefix) bool { return n.Contains(client) })
}

func (f Forwarders) hasName(name string) bool {
	return slices.ContainsFunc(f.Names, func(domain string) bool { return Under(name, domain) })
}

// Trusted says which clients are never checked. The zero value trusts local submissions alone.
type Trusted struct {
	Networks      []netip.Prefix
	Authenticated bool     // who authenticated
	Daemons       []string // who came in by one of these {daemon_name}s
}

// Trusts tells whether a session is never checked. A local submission never is.
func (t Trusted) Trusts(s *Session) bool {
	return s.Local ||
		t.Authenticated && s.AuthUser != "" ||
		slices.ContainsFunc(t.Networks, func(n netip.Prefix) bool { return n.Contains(s.Client) }) ||
		len(t.Daemons) > 0 && slices.Contains(t.Daemons, s.Macros.Get("{daemon_name}"))
}

// RecipientSet is a set of recipients given by patterns. The zero value is empty. Case is ignored, in the local part
// too: RFC 5321 section 2.4 leaves it to the receiving site, and no site tells its users apart by case.
type RecipientSet struct {
	locals, mailboxes, domains map[string]bool
}

// ParseRecipients reads patterns: a local part at any domain ("postmaster"), a mailbox ("user@example.org"), or a whole
// domain ("@example.org"). A local part stands for its subaddresses too ("user+list", RFC 5233).
func ParseRecipients(patterns []string) (RecipientSet, error) {
	s := RecipientSet{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	for _, p := range patterns {
		if err := s.add(p); err != nil {
			return RecipientSet{}, err
		}
	}
	return s, nil
}

func (rs RecipientSet) add(pattern string) error {
	local, domain, at := cutLast(pattern, "@")
	switch {
	case strings.Contains(pattern, "*"):
		return fmt.Errorf("%q is no recipient: there are no wildcards; @domain is everybody there", pattern)
	case strings.HasPrefix(pattern, ".") || at && strings.HasPrefix(domain, "."):
		return fmt.Errorf("%q is no recipient: domains below one are named one by one, as @domain", pattern)
	case !at && isDomain(local):
		return fmt.Errorf("%q is a domain and would be taken for a local part; did you mean %q?", pattern, "@"+pattern)
	case strings.ContainsAny(pattern, " \t<>,") || strings.Contains(local, "@") && !strings.HasPrefix(local, `"`):
		return fmt.Errorf("%q is no recipient: want user, user@domain or @domain", pattern)
	case !at && local != "":
		rs.locals[strings.ToLower(local)] = true
	case domain == "" || asciiDomain(domain) == "":
		return fmt.Errorf("%q is no recipient: want user, user@domain or @domain", pattern)
	case local == "":
		rs.domains[asciiDomain(domain)] = true
	default:
		rs.mailboxes[strings.ToLower(local)+"@"+asciiDomain(domain)] = true
	}
	return nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// isDomain tells whether a text ends in a top-level domain that exists.
func isDomain(text string) bool {
	if !strings.Contains(text, ".") {
		return false
	}
	suffix, icann := publicsuffix.PublicSuffix(asciiDomain(text))
	return icann || strings.Contains(suffix, ".")
}

// Contains tells whether a recipient matches one of the patterns: it, or the mailbox whose subaddress it is.
func (rs RecipientSet) Contains(a Address) bool {
	if a.Local == "" || len(rs.locals)+len(rs.mailboxes)+len(rs.domains) == 0 {
		return false
	}
	local := strings.ToLower(a.Local)
	if rs.domains[a.Domain] || rs.has(local, a.Domain) {
		return true
	}
	plus := strings.IndexByte(local, '+')
	return plus > 0 && rs.has(local[:plus], a.Domain)
}

func (rs RecipientSet) has(local, domain string) bool {
	return rs.locals[local] || len(rs.mailboxes) > 0 && rs.mailboxes[local+"@"+domain]
}

// table is the actions for one kind of recipient, made ready for deciding.
type table struct {
	actions    map[*Reason]Action
	asks       []bool // by check: has it a reason that is not off
	forwarders Forwarders
	header     string // what is enforced at the end of the header: equal strings, equal fate
	partial    bool   // a reason is off here that is on for everyone

	used map[*Reason]bool // those that are not off in all tables
}

// action is what is done when the reason applies.
func (t *table) action(r *Reason) Action { return t.actions[r] }

// lacks tells whether a reason is off here that is on in another table.
func (t *table) lacks(other *table) bool {
	for r, a := range other.actions {
		if a != Off && t.actions[r] == Off {
			return true
		}
	}
	return false
}

// exempt is the table of recipients whom everything reaches.
func exempt(instances []Instance) *table {
	return &table{asks: make([]bool, len(instances)), partial: true}
}

func newTable(instances []Instance, actions map[string]Action) (*table, error) {
	// Without a greylist check nobody could let a suspicion pass after a while: it is watched.
	greylisting := slices.ContainsFunc(instances, func(i Instance) bool {
		return slices.ContainsFunc(i.Info.Reasons, func(r *Reason) bool { return r.Greylisting })
	})
	t := &table{actions: map[*Reason]Action{}, asks: make([]bool, len(instances))}
	var header strings.Builder
	for i, inst := range instances {
		t.asks[i] = inst.Info.Vouches || len(inst.Info.Reasons) == 0 // it vouches or observes, for everyone
		for _, r := range inst.Info.Reasons {
			a, ok := actions[r.ID]
			if !ok {
				return nil, fmt.Errorf("checks: no action for reason %q", r.ID)
			}
			if a == Greylist && !greylisting {
				a = Watch
			}
			if r.Most != Off {
				a = min(a, r.Most)
			}
			t.actions[r] = a
			t.asks[i] = t.asks[i] || a != Off
			if a >= Greylist && slices.Contains(inst.Info.Stages, EndOfHeader) {
				fmt.Fprintf(&header, "%s=%s ", r.ID, a)
			}
		}
	}
	t.header = header.String()
	return t, nil
}
