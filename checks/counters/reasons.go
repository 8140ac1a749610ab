package counters

import "milterd/checks"

// The reasons, in order of precedence.
var (
	blocked = &checks.Reason{
		ID:    "client-blocked",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{network} is blocked until {until} for {why}"},
		When:  "the client (an IPv4 address or an IPv6 /64) is under a temporary block, because it passed a limit before or by hand",
		Why: "From the address of your server came, not long ago, what mail servers do not do: many addresses that do not exist, " +
			"mail transactions that were given up one after the other, or mail that was refused again and again. It is blocked for " +
			"a while, for which and until when says the reply; the block ends by itself.",
		Remedy: "Find out what your server, or another one behind its address, sent: worms, a form on a web site and outdated " +
			"address lists are common. The block is longer the next time. Until it ends, postmaster at this site still gets your mail.",
		Safe: checks.Tempfail, Strict: checks.Reject,
		NotHistory: true, Accuses: true,
	}
	tooManyResets = &checks.Reason{
		ID:    "too-many-resets",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{network} gave up too many mail transactions and is blocked until {until}"},
		When: "a client gives up more than `resets` transactions with an accepted recipient (RSET) in one connection; each delivered " +
			"message takes one off",
		Why: "In one connection your server began many mails, had recipients accepted, and gave them up (RSET). Programs that collect " +
			"addresses do that; mail servers send the mail. The client is blocked until the time in the reply.",
		Remedy: "Do not look for valid addresses at this site, by sender verification neither. If a mail server of yours does it " +
			"without being told to, see its log for why it gives up its mails.",
		Safe: checks.Tempfail, Strict: checks.Reject,
		NotHistory: true, Accuses: true,
	}
	tooManyBadRecipients = &checks.Reason{
		ID:    "too-many-bad-recipients",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{network} named too many unknown recipients and is blocked until {until}"},
		When: "a connection has more than `bad_recipients` unknown recipients (5.1.x, relay refusals are none), and more than accepted " +
			"ones; each delivered message takes one off",
		Why: "In one connection your server named many recipients that do not exist here, more than exist. That is how addresses are " +
			"guessed or old lists are sent to. The client is blocked until the time in the reply.",
		Remedy: "Remove addresses that were refused with 5.1.1 from your lists, and see that nobody guesses addresses through your server. " +
			"The block ends by itself; deliver to known recipients then.",
		Safe: checks.Tempfail, Strict: checks.Reject,
		NotHistory: true, Accuses: true,
	}
	tooManyErrors = &checks.Reason{
		ID:    "too-many-errors",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{network} sent too much that was refused and is blocked until {until}"},
		When: "a client has more than `errors` 5yz refusals and unknown recipients in the `window`, across connections, and more than " +
			"deliveries, each of which takes one off; greylisting, watched reasons, 4yz replies and relay refusals never count",
		Why: "Within a day or so, most of what your server sent to this site was refused for good, and it went on. The replies before " +
			"this one say what was wrong. The client is blocked until the time in the reply.",
		Remedy: "See the replies of this site in the log of your server, mend what they name, and do not send again what was refused " +
			"with 5xx. The block ends by itself.",
		Safe: checks.Tempfail, Strict: checks.Reject,
		NotHistory: true, Accuses: true,
	}
)

// limits are the reasons that a block begins with, in order.
func limits() []*checks.Reason {
	return []*checks.Reason{tooManyResets, tooManyBadRecipients, tooManyErrors}
}

// phrase completes the sentence "is blocked for ...".
func phrase(limit *checks.Reason) string {
	switch limit {
	case tooManyResets:
		return "too many mail transactions given up"
	case tooManyBadRecipients:
		return "too many unknown recipients"
	default:
		return "too many refused mails and recipients"
	}
}
