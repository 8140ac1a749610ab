// Package records keeps decisions: a record of each decision with a reply or a reason that applied, and of each
// accepted message. The operator searches them (Log.Find, Log.Page), and the sender of a refused mail sees the record
// that the link in the reply refers to (Log.Get). Records are bounded in number and age.
//
// Record is one decision, Log stores records in the checks.Store that all hosts of a site share, and Signer makes the
// references in links. Start reading at Log.
package records

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"milterd/checks"
)

// Accept is the action of an accepted message. The other actions are those of checks.Action.
const Accept = "accept"

// Record is one decision about a session. Remote values are unescaped, and cut to 512 bytes.
type Record struct {
	ID         string     `json:"id"`
	Number     int64      `json:"number"` // place in the order of all records of the store
	Time       time.Time  `json:"time"`
	Session    string     `json:"session"`
	QueueID    string     `json:"queue_id"`
	Client     netip.Addr `json:"client"` // zero if unknown
	ClientName string     `json:"client_name"`
	Helo       string     `json:"helo"`
	MailFrom   string     `json:"mail_from"` // empty for the null reverse-path
	Rcpts      []string   `json:"rcpts"`     // the recipient of the decision; of a decision about a message, the first accepted ones
	Action     string     `json:"action"`    // accept, or that of checks.Action which is most severe
	Reason     string     `json:"reason"`    // id of the decisive reason; may be empty
	Reply      string     `json:"reply"`     // without the link; may be empty
	Outcomes   []Outcome  `json:"outcomes"`  // reasons that applied and are not off, in order

	// Of an accepted message: the suspicions that did not delay it, what vouches for it, and the reasons for which it
	// waits in the quarantine of the MTA.
	Waived      []string `json:"waived,omitempty"`
	Vouches     []Vouch  `json:"vouches,omitempty"`
	Quarantined []string `json:"quarantined,omitempty"`

	MTA string `json:"mta,omitempty"` // of quarantined mail: the name or version of the mail server

	Checks []Check `json:"checks,omitempty"` // checks that ran; empty if the decision has no trace
}

var quarantine = checks.Quarantine.String()

// Fate returns what became of the mail, as lists show it: the action, but quarantine for an accepted message that was
// quarantined.
func (r Record) Fate() string {
	if len(r.Quarantined) > 0 {
		return quarantine
	}
	return r.Action
}

// Cause returns the reason of Fate, or "".
func (r Record) Cause() string { return cmp.Or(r.Reason, strings.Join(r.Quarantined, ",")) }

// Release returns the command that releases a quarantined message, or those for Postfix and for Sendmail if the mail server is not
// known, or "" if the message is not quarantined or its queue id is not known.
func (r Record) Release() string {
	if len(r.Quarantined) == 0 && r.Action != quarantine || !isPlain(r.QueueID) {
		return ""
	}
	postfix, sendmail := fmt.Sprintf("postsuper -H %[1]s && postqueue -i %[1]s", r.QueueID), fmt.Sprintf("sendmail -qQ -qI%s -Q && sendmail -q", r.QueueID)
	switch {
	case strings.HasPrefix(r.MTA, "Postfix"):
		return postfix
	case strings.HasPrefix(r.MTA, "8."): // Sendmail has no name in its macro v
		return sendmail
	default:
		return postfix + " (Postfix); " + sendmail + " (Sendmail)"
	}
}

// isPlain reports whether a queue id can stand in a command of a shell.
func isPlain(id string) bool {
	return id != "" && strings.Trim(id, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
}

// Vouch is evidence for the client or the sender, see checks.Vouched.
type Vouch struct {
	Check  string `json:"check"`
	Effect string `json:"effect"` // such as "no greylisting and no callout"
	Why    string `json:"why"`
}

// String returns the vouch as shown to the operator.
func (v Vouch) String() string {
	if v.Why == "" {
		return v.Check + ": " + v.Effect
	}
	return v.Check + ": " + v.Why + " (" + v.Effect + ")"
}

// Outcome is a reason that applied.
type Outcome struct {
	Check  string            `json:"check"`
	Stage  string            `json:"stage"`
	Reason string            `json:"reason"`
	Action string            `json:"action"`
	Text   string            `json:"text"` // of the reply that was or would have been given
	Detail map[string]string `json:"detail,omitempty"`
}

// Detail returns a detail of the reason of the reply, or "".
func (r Record) Detail(name string) string {
	for _, o := range r.Outcomes {
		if o.Reason == r.Reason {
			return o.Detail[name]
		}
	}
	return ""
}

// Check is the result of one check at one stage.
type Check struct {
	Check   string   `json:"check"`
	Stage   string   `json:"stage"`
	Reasons []string `json:"reasons,omitempty"`
	Error   string   `json:"error,omitempty"`
	Millis  float64  `json:"ms"`
	Asked   []Asked  `json:"asked,omitempty"`
	Notes   []string `json:"notes,omitempty"`
	Vouches []Vouch  `json:"vouches,omitempty"`
}

// Asked is one question to the DNS and its answer.
type Asked struct {
	Question string  `json:"question"`
	Answer   string  `json:"answer"`
	Millis   float64 `json:"ms"`
}

// MaxAnswer is the length of Asked.Answer in bytes. The text of a longer answer is cut there.
const MaxAnswer = 1024

// Bounds of a record.
const (
	maxValue   = 512 // bytes of a remote value
	maxAsked   = 200 // questions of a check
	maxRcpts   = 20
	maxEncoded = 60 << 10 // bytes of a part with one or more records; a store takes 64 KiB
	// maxText is the size of the text of a record or a part in bytes. It leaves room in maxEncoded for the last number and line ends.
	maxText = maxEncoded - 32
)
