package checks

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Options is the operator's policy.
type Options struct {
	Actions     map[string]Action // action of every reason, by id
	Named       map[string]bool   // ids of the reasons whose action the operator chose: it holds for bounces too, see Reason.BounceWatch
	Policies    []Policy          // for some recipients; the first match applies
	Exempt      RecipientSet      // recipients for whom no check runs
	Trusted     Trusted           // clients for which no check runs
	ReplyAt     Stage             // stage of the reply to client, HELO and sender reasons: MailFrom or RcptTo
	OnError     Action            // Tempfail: defer mail for which a check fails; any other value: ignore the failure
	Budget      time.Duration     // for all checks of one stage together
	Trace       Trace             // which Decisions have Results
	Announce    Announcer         // nil: no questions are asked in the background
	Escalate    time.Duration     // how long a Reject for a reason with Identity is a Tempfail, from the first one for a client; 0: never
	Store       Store             // used for Escalate only
	Clock       *Clock            // used for Escalate only
	TraceFields TraceFields       // written into accepted messages

	// SubjectPrefix is put in front of the subject of marked messages, see Decision.Marks. Printable, without an
	// encoded-word; may be empty.
	SubjectPrefix string

	// ClientNamed reports whether match returns true for a confirmed name of the client (lower case, no trailing dot). With
	// an error it returns false, although there may be one. It is used for Policy.Forwarders. nil: no client has names.
	ClientNamed func(ctx context.Context, r *Request, match func(name string) bool) (bool, error)

	// Body returns the writer of the body of the current message, which computes what the checks need of it. It returns nil if
	// the body of this message is not needed. It is called at EndOfHeader, see Run.BeginBody, also for trusted clients, whose
	// messages no check sees. nil: no body is needed.
	Body func(r *Request) io.Writer

	// Took is called with the duration of each run of a check. It must be quick. It may be nil.
	Took func(check string, d time.Duration)

	// Link returns the link at the end of a reply and the id of the record it refers to. It must be quick. nil: no links.
	Link func(r *Reason, at time.Time) (record, link string)
}

// Policy replaces the actions for some recipients.
type Policy struct {
	Recipients RecipientSet
	Actions    map[string]Action // action of every reason, by id
	Named      map[string]bool   // as Options.Named
	Forwarders Forwarders        // of these recipients
}

// Forwarders are clients that pass on mail of others: SPF and DNSBL results of the client say nothing about that mail. The
// zero value is empty.
type Forwarders struct {
	Networks []netip.Prefix
	Names    []string // host names and domains including their subdomains, lower case, no trailing dot
}

// Add adds an entry of a setting: an address, a network, or a name, perhaps with a dot in front.
func (f *Forwarders) Add(entry string) error {
	if LooksLikeNetwork(entry) {
		n, err := ParseNetwork(entry)
		if err == nil {
			f.Networks = append(f.Networks, n)
		}
		return err
	}
	name := ToALabels(strings.TrimPrefix(entry, "."))
	if !IsHostName(name) || !strings.Contains(name, ".") {
		return fmt.Errorf("%.80q is not an address, a network or a host name; write it as 192.0.2.1, 192.0.2.0/24 or lists.example.net", entry)
	}
	f.Names = append(f.Names, name)
	return nil
}

// HasAddr reports whether an address is in one of the networks.
func (f Forwarders) HasAddr(client netip.Addr) bool {
	return slices.ContainsFunc(f.Networks, func(n netip.Prefix) bool { return n.Contains(client) })
}

// HasName reports whether a name is one of the names, or below one.
func (f Forwarders) HasName(name string) bool {
	return slices.ContainsFunc(f.Names, func(domain string) bool { return Under(name, domain) })
}

// Trusted describes the clients that are exempt from all checks. The zero value has local submissions only.
type Trusted struct {
	Networks      []netip.Prefix
	Authenticated bool     // clients that authenticated
	Daemons       []string // clients of the listeners with these {daemon_name}s
}

// Trusts reports whether the client of a session is trusted.
func (t Trusted) Trusts(s *Session) bool {
	return s.Local ||
		t.Authenticated && s.AuthUser != "" ||
		slices.ContainsFunc(t.Networks, func(n netip.Prefix) bool { return n.Contains(s.Client) }) ||
		len(t.Daemons) > 0 && slices.Contains(t.Daemons, s.Macros["{daemon_name}"])
}

// TraceFields are the fields that milterd adds to accepted messages. The zero value adds none.
type TraceFields struct {
	AuthServID            string // authserv-id, RFC 8601 section 2.5
	AuthenticationResults bool   // RFC 8601; fields with the same authserv-id that arrive with a message are removed
	ReceivedSPF           bool   // RFC 7208 section 9.1
}

// Any reports whether there is a field to add or to remove.
func (t TraceFields) Any() bool { return t.AuthenticationResults || t.ReceivedSPF }

// table has the actions for one group of recipients.
type table struct {
	recipients RecipientSet // of a policy
	actions    map[*Reason]Action
	bounces    map[*Reason]Action // the actions for mail with a null reverse-path, see Reason.BounceWatch
	runs       []bool             // by check: whether to run it
	forwarders Forwarders         // of these recipients
	partial    bool               // a reason is off that is on for recipients without a policy
}

// action returns the action of a reason, for mail with or without a null reverse-path.
func (t *table) action(r *Reason, bounce bool) Action {
	if bounce {
		return t.bounces[r]
	}
	return t.actions[r]
}

// emptyTable returns a table in which every reason is off and no check runs.
func emptyTable(instances []Instance) *table {
	return &table{actions: map[*Reason]Action{}, bounces: map[*Reason]Action{}, runs: make([]bool, len(instances))}
}

// mergeTables returns a table with the most severe action of each reason, for the recipients of one message. It has no forwarders.
func mergeTables(instances []Instance, tables []*table) *table {
	merged := emptyTable(instances)
	for _, t := range tables {
		for r := range t.actions {
			merged.actions[r] = max(merged.actions[r], t.actions[r])
			merged.bounces[r] = max(merged.bounces[r], t.bounces[r])
		}
		for i, runs := range t.runs {
			merged.runs[i] = merged.runs[i] || runs
		}
		merged.partial = merged.partial || t.partial
	}
	return merged
}

// lacks reports whether a reason is off in t that is on in another table.
func (t *table) lacks(other *table) bool {
	for r, a := range other.actions {
		if a != Off && t.actions[r] == Off {
			return true
		}
	}
	return false
}

// newTable returns the table of the given actions, by reason id. named are the ids whose action the operator chose.
func newTable(instances []Instance, actions map[string]Action, named map[string]bool) (*table, error) {
	// Without a check that greylists, Greylist would do nothing: the reason is watched instead.
	greylisting := slices.ContainsFunc(instances, func(i Instance) bool {
		return slices.ContainsFunc(i.Info.Reasons, func(r *Reason) bool { return r.Greylisting })
	})
	t := emptyTable(instances)
	for i, inst := range instances {
		t.runs[i] = inst.Info.Vouches || len(inst.Info.Reasons) == 0
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
			t.actions[r], t.bounces[r] = a, a
			if r.BounceWatch && !named[r.ID] {
				t.bounces[r] = min(a, Watch)
			}
			t.runs[i] = t.runs[i] || a != Off
		}
	}
	return t, nil
}
