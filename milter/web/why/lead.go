package why

import (
	"cmp"
	"fmt"
	"time"

	"milterd/milter/records"
	"milterd/milter/web"
)

// todo is what a sender can do about a reason, as the file reasons.yaml has it.
type todo string

const (
	todoRepair  todo = ""        // somebody has to repair something
	todoWait    todo = "wait"    // it passes by itself
	todoBlock   todo = "block"   // it ends by itself, but its cause may not
	todoAsk     todo = "ask"     // only this site can change it
	todoAccount todo = "account" // the account may be in the hands of somebody else
)

// lead is the beginning of a page: what became of the message, and what to do about it. It is for everybody who sends mail.
type lead struct {
	Became  string
	Do      string
	Forward string // for whoever runs the sender's mail server; empty if there is nothing to do there
}

// leadOf returns the beginning of the page of a reason. rec is nil if no decision is shown.
func (p *pages) leadOf(v reasonView, rec *records.Record) *lead {
	l := &lead{}
	temporary, after := v.Temporary, ""
	if rec != nil {
		r := retryOf(*rec)
		temporary = isTemporary(*rec)
		if r.After != nil {
			after = " after " + r.After.UTC().Format("2 January 2006, 15:04") + " UTC"
		}
	}
	l.Became = "The message was not delivered: " + p.Site + " refused it, and the mail server that sent it does not try again."
	if temporary {
		l.Became = "The message is not delivered yet: " + p.Site + " deferred it. The mail server that sent it tries again by itself, usually for some days."
	}
	l.Do = p.whatToDo(v.Do, temporary, after)
	if rec != nil && v.Do != todoWait && v.Do != todoAccount {
		l.Forward = p.forward(v, *rec)
	}
	return l
}

// whatToDo returns the advice. after is " after" and a time, or empty if none is known.
func (p *pages) whatToDo(do todo, temporary bool, after string) string {
	postmaster := "postmaster@" + p.Site
	switch {
	case do == todoWait && temporary:
		return "You do not need to do anything. The message is accepted when it is sent again" + after + "."
	case do == todoWait:
		return "Send it again" + cmp.Or(after, " later") + "."
	case do == todoBlock:
		return "Your server is blocked. Whoever runs it has to find the cause. Mail is accepted again" + cmp.Or(after, " when the block has ended") + "; sending it sooner does not help."
	case do == todoAsk:
		return "Sending it again does not help. Only this site can let the mail in: write to " + postmaster + ", and say what the reply below says."
	case do == todoAccount:
		return "If you sent all this mail, the rest is accepted" + cmp.Or(after, " later") + ". If you did not, change the password of your account at once: somebody else uses it."
	case temporary:
		return "It is delivered when the fault below is repaired, or without a repair if only a DNS answer was missing. Whoever runs the mail server has to look at it."
	default:
		return "Whoever runs the mail server that sent it has to repair the fault below. Then send the message again."
	}
}

// forward returns the paragraph that a user can send to whoever runs the mail server. It has nothing that the page does not show.
func (p *pages) forward(v reasonView, rec records.Record) string {
	from := "with the empty sender"
	if rec.MailFrom != "" {
		from = "from " + web.Shown(rec.MailFrom)
	}
	text := fmt.Sprintf("On %s, %s did not accept our message %s", rec.Time.UTC().Format(time.RFC1123), p.Site, from)
	if rec.Client.IsValid() {
		text += " from our mail server " + rec.Client.String()
	}
	text += ". It replied: " + maskRecipients(rec, rec.Reply) + ". " + v.Remedy
	if p.URL != "" {
		text += " What it saw, and how to repair it: " + p.URL + "/why/" + rec.Reason + "?r=" + p.Signer.Sign(rec.ID, rec.Reason)
	}
	return text
}
