package counters

import "milterd/checks"

// The reasons, in order of precedence.
var (
	blocked = &checks.Reason{
		ID:    "client-blocked",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{network} is blocked until {until} for {why}"},
		When:  "the client (an IPv4 address or an IPv6 /64) is under a temporary block, because it passed a limit before or by hand",
		Why: "The address of your server recently sent many recipients that do not exist, gave up many mail transactions, or sent much " +
			"mail that was refused. It is blocked for a time. The reply says for what, and until when; the block ends by itself.",
		Remedy: "Find out what your server, or another host behind its address, sent. Malware, a form on a web site and outdated address " +
			"lists are common causes. The next block is longer. Until the block ends, postmaster at this site still accepts your mail.",
		Safe: checks.Tempfail, Strict: checks.Reject,
		NotHistory: true, Accuses: true,
	}
	tooManyResets = &checks.Reason{
		ID:    "too-many-resets",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{network} gave up too many mail transactions and is blocked until {until}"},
		When: "a client gives up more than `resets` transactions with an accepted recipient (RSET) in one connection; each delivered " +
			"message takes one off",
		Why: "In one connection your server began many mail transactions, had recipients accepted, and gave the transactions up (RSET). " +
			"Programs that collect addresses do that. The client is blocked until the time in the reply.",
		Remedy: "Do not test addresses at this site, and do not verify senders by RCPT here. If a mail server does this unasked, its log " +
			"shows why it gives up transactions.",
		Safe: checks.Tempfail, Strict: checks.Reject,
		NotHistory: true, Accuses: true,
	}
	tooManyBadRecipients = &checks.Reason{
		ID:    "too-many-bad-recipients",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{network} named too many unknown recipients and is blocked until {until}"},
		When: "a connection has more than `bad_recipients` unknown recipients (5.1.x, but no relay refusals), and more than accepted " +
			"ones; each delivered message takes one off",
		Why: "In one connection your server named many recipients that do not exist here, and more than exist. That happens when " +
			"addresses are guessed or an old list is used. The client is blocked until the time in the reply.",
		Remedy: "Remove addresses that were refused with 5.1.1 from your lists, and make sure that your server is not used to guess " +
			"addresses. The block ends by itself; then deliver to recipients that exist.",
		Safe: checks.Tempfail, Strict: checks.Reject,
		NotHistory: true, Accuses: true,
	}
	tooManyErrors = &checks.Reason{
		ID:    "too-many-errors",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{network} sent too much that was refused and is blocked until {until}"},
		When: "a client has more than `errors` 5yz refusals and unknown recipients in the `window`, across connections, and more than " +
			"deliveries, each of which takes one off; greylisting, watched reasons, 4yz replies and relay refusals never count",
		Why: "Within about a day this site refused most of what your server sent, with 5xx replies that say what was wrong. The client " +
			"is blocked until the time in the reply.",
		Remedy: "Look up the replies of this site in the log of your server and correct what they name. Do not send again what was " +
			"refused with 5xx. The block ends by itself.",
		Safe: checks.Tempfail, Strict: checks.Reject,
		NotHistory: true, Accuses: true,
	}
)

// limits are the reasons that begin a block, in order of precedence.
var limits = []*checks.Reason{tooManyResets, tooManyBadRecipients, tooManyErrors}

// phrase returns the end of the sentence "is blocked for ..." for a limit.
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
