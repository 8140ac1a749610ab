package checks

import (
	"fmt"
	"strings"
)

// Reason is one way to refuse mail. It is the single source of the reply, the log field, the metric label, the
// explanation page and the manual. Reasons are compared by address and never changed.
type Reason struct {
	ID     string // stable: in configuration files, links and labels; "helo-mismatch"
	Reply  Reply  // Text may hold {placeholders}: keys of Verdict.Detail, else client, client_name, helo, mail_from, domain, rcpt
	When   string // the condition, for the manual: a phrase without a full stop
	Why    string // for the sender's postmaster: what was observed and why sites ask for it
	Remedy string // for the sender's postmaster: what to change
	Safe   Action // default action in the profile "safe"
	Strict Action // default action in the profile "strict"
	Most   Action // the most it may be set to; zero is Reject

	// Troubles says that it takes connections to a host of the sender's to find out. The profile watch, which is to have no effect on
	// anybody, leaves it off. false: it takes none.
	Troubles bool

	// What others who meet the reason must know of it. The zero values are right for a fault of the one message.

	NotForwarded bool // it does not hold for mail that a forwarder of the recipient passes on, see Policy; false: it does

	// Identity says that it is about who the client says it is. What an honest site has wrong there is repaired in a day, if
	// its queue holds the mail meanwhile: Options.Escalate gives it that time. false: a reject is for good at once.
	Identity bool

	// NotHeld says that it is no part of the sender's history, see sender-history: it judges the host and not the sender, or what
	// the next mail will be judged by anyway and what must be forgotten as soon as it is mended, or says what one recipient
	// wishes. So a sender that mends its host or its domain is welcome at once. false: a 5yz for it is held against the sender.
	NotHeld bool

	// Accuses says that somebody lists the client or the sender, or that it did harm here: to the reports it speaks against the
	// sender even where it is only watched. false: it does where it refuses.
	Accuses bool

	// Greylisting says that it is the waiting itself, which suspicions lead to and which ends by itself: no fault of the sender.
	// The check that has such a reason is the one that holds suspected deliveries. false: it is a reason to refuse, or to suspect.
	Greylisting bool

	// Unanswered says nothing of the mail, but that the DNS did not answer: it cannot apply where nobody asks the DNS. false: it
	// is about the mail.
	Unanswered bool

	// Repair is what in the DNS puts it right: the page of the reason tests that again, and shows the records. The zero value,
	// NoRepair: nothing there does, and it is not tested again.
	Repair Repair
}

// Repair is a change in the DNS.
type Repair uint8

// The repairs.
const (
	NoRepair        Repair = iota
	Elsewhere              // in the DNS or in a list that is asked over it, but we know no record that would do
	AddPTR                 // the client's address gets the HELO name, and that name the address
	AddAddressOfPTR        // the name that the client's address has gets the address
	AddAddress             // the HELO name gets the client's address
	ReplaceCNAME           // the HELO name gets the client's address instead of being an alias
	AddMX                  // the sender's domain gets a mail host
	ReplaceMX              // the sender's domain gets another mail host
	AllowInSPF             // the SPF record of the sender's domain passes the client
	ReplaceSPF             // the sender's domain gets a narrow SPF record
	AllowInHeloSPF         // the SPF record of the HELO name passes the client
)

// Reply is one SMTP reply, RFC 5321 section 4.2.
type Reply struct {
	Code     int    // 4yz or 5yz
	Enhanced string // RFC 3463; its class is the first digit of Code: "5.7.25"
	Text     string
	Link     string // to the page that explains it, printable US-ASCII; empty: none
}

// Temporary turns a 5yz reply into the 4yz one that a tempfail answers: 550 becomes 450, every other code 451, the
// class of the enhanced code 4. A 4yz reply stays as it is.
func (r Reply) Temporary() Reply {
	switch {
	case r.Code < 500:
		return r
	case r.Code == 550:
		r.Code = 450
	default:
		r.Code = 451
	}
	r.Enhanced = "4" + strings.TrimPrefix(r.Enhanced, "5")
	return r
}

// Verdict is a reason to refuse that applies to the session, or evidence for the client.
type Verdict struct {
	Reason *Reason           // nil: a Vouch only
	Detail map[string]string // fills the placeholders of the reply, logged as it is; may hold hostile bytes
	Vouch  Vouch

	// Unsure: it could not be found out for certain. A Reason refuses for now only: where its action is Reject, it is Tempfail. A
	// Vouch may be there or not, and what is refused is refused for now only.
	Unsure bool
}

// Vouch is evidence that a client or sender is known and good. It holds whatever the actions of the check's reasons.
type Vouch uint8

// The vouches, from the weakest to the strongest.
const (
	NoVouch    Vouch = iota
	SkipDelays       // no greylisting, no callout
	SkipAll          // no check is asked any more
)

// Action is what the operator wants done when a reason applies.
type Action uint8

// The actions, from the mildest to the most severe.
const (
	Off      Action = iota // silent
	Watch                  // log and count what would have been refused, and let it pass
	Greylist               // a suspicion: the delivery goes through greylisting
	Tempfail               // the 4yz form of the reply
	Reject                 // the reply
)

var actionNames = [...]string{"off", "watch", "greylist", "tempfail", "reject"}

// ActionNames lists the words of ParseAction, mildest first.
func ActionNames() []string { return actionNames[:] }

// String returns the word of the configuration.
func (a Action) String() string { return actionNames[a] }

// ParseAction reads the word of the configuration. "false" means off: YAML 1.1 reads the word off as false.
func ParseAction(s string) (Action, error) {
	if s == "false" {
		return Off, nil
	}
	for i, n := range actionNames {
		if n == s {
			return Action(i), nil
		}
	}
	return Off, fmt.Errorf("%q is no action; one of %s", s, strings.Join(actionNames[:], ", "))
}

// Enforced tells whether the action refuses.
func (a Action) Enforced() bool { return a >= Tempfail }

// forNow is the action where the reason may not hold any more when the mail comes again.
func (a Action) forNow() Action {
	if a == Reject {
		return Tempfail
	}
	return a
}

// Profile is a column of default actions.
type Profile uint8

// The profiles.
const (
	Safe        Profile = iota // refuses only what honest mail practically never does
	Strict                     // refuses wide-spread faults too
	WatchingAll                // every reason on watch, but for those that trouble others
)

var profileNames = [...]string{"safe", "strict", "watch"}

// ProfileNames lists the words of ParseProfile.
func ProfileNames() []string { return profileNames[:] }

// String returns the word of the configuration.
func (p Profile) String() string { return profileNames[p] }

// ParseProfile reads the word of the configuration.
func ParseProfile(s string) (Profile, error) {
	for i, n := range profileNames {
		if n == s {
			return Profile(i), nil
		}
	}
	return Safe, fmt.Errorf("%q is no profile; one of %s", s, strings.Join(profileNames[:], ", "))
}

// Action is the default action of a reason in the profile.
func (p Profile) Action(r *Reason) Action {
	switch p {
	case Strict:
		return r.Strict
	case WatchingAll:
		if r.Troubles {
			return Off
		}
		return Watch
	default:
		return r.Safe
	}
}
