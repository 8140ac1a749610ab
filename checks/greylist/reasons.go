package greylist

import "milterd/checks"

// The reasons, in order of precedence. Both have a 4yz reply whatever the action: a first contact that is refused with 5yz
// would never be retried.
var (
	firstContact = &checks.Reason{
		ID:    "first-contact",
		Reply: checks.Reply{Code: 451, Enhanced: "4.7.1", Text: "{client} sends the first mail from {mail_from} to {rcpt}"},
		When:  "no mail of this client from this sender to this recipient was accepted before, and nothing else is suspicious about it",
		Why: "This site asks every client that sends mail to a recipient for the first time to send it again after a few minutes " +
			"(greylisting, RFC 6647). Mail servers do so by themselves; most programs that send spam do not.",
		Remedy: "Nothing: your server retries by itself, and later mail between the same two addresses is not delayed. If the " +
			"mail does not arrive within hours, check that your server keeps it in a queue and retries.",
		Safe: checks.Off, Strict: checks.Greylist, Most: checks.Quarantine, // as a refusal it would be one forever
		Greylisting: true,
	}
	greylisted = &checks.Reason{
		ID:    "greylisted",
		Reply: checks.Reply{Code: 451, Enhanced: "4.7.1", Text: "greylisted for {seconds} s more: {why}; please try again"},
		When: "a delivery is under some suspicion (a reason whose action is greylist), and the `delay` since its first attempt is " +
			"not over",
		Why: "Something about your mail server or this mail is often seen with spam; the reply says what. It is not enough to " +
			"refuse the mail, so your server is asked to send it again after a few minutes (greylisting, RFC 6647). Mail servers " +
			"do so by themselves; most programs that send spam do not.",
		Remedy: "Nothing for this mail: your server retries by itself, and an earlier retry does not make the wait longer. To avoid " +
			"the delay for later mail, correct what the reply names.",
		Safe: checks.Tempfail, Strict: checks.Tempfail,
		Greylisting: true, Deferral: true,
	}
)
