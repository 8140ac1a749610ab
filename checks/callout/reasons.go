package callout

import "milterd/checks"

// The reasons, in order of precedence.
var (
	rejected = &checks.Reason{
		ID:    "callout-rejected",
		Reply: checks.Reply{Code: 550, Enhanced: "5.1.7", Text: "{mx} takes no mail for the sender address {sender}: {reply}"},
		When: "a mail host of the sender's domain refuses the address at RCPT for good, in words that are about the address and not " +
			"about us",
		Why: "Before it takes mail, this site asks the mail host of the sender's domain whether the sender address exists. That " +
			"host said no, so neither an answer nor a report of a failure could be sent. The reply quotes the host.",
		Remedy: "Use a sender address that exists, or have your mail host accept it. If it should exist, ask your provider why the " +
			"mail host named in the reply refuses it. The answer is remembered for some hours.",
		Safe: checks.Off, Strict: checks.Tempfail, Connects: true,
	}
	unreachable = &checks.Reason{
		ID:    "callout-unreachable",
		Reply: checks.Reply{Code: 450, Enhanced: "4.1.7", Text: "no mail host says whether {sender} exists; {mx} at {at}: {reply}"},
		When:  "no mail host of the sender's domain gives a definite answer: unreachable, broken, temporary, or one that will not talk to us",
		Why: "Before it takes mail, this site asks the mail host of the sender's domain whether the sender address exists. No mail " +
			"host of the domain could be reached, or none gave a definite answer. The reply says how far it came.",
		Remedy: "See that the mail hosts in the MX records of the domain can be reached on port 25, and take mail with the empty " +
			"sender address <>, as RFC 5321 section 4.5.5 wants.",
		Safe: checks.Off, Strict: checks.Watch, Connects: true,
	}
	pending = &checks.Reason{
		ID:    "callout-pending",
		Reply: checks.Reply{Code: 450, Enhanced: "4.1.7", Text: "a mail host of {sender} is still being asked whether it exists, please try again"},
		When:  "the mail hosts of the sender's domain have not answered yet; they are still being asked, for up to 60 s",
		Why: "Before it takes mail, this site asks the mail host of the sender's domain whether the sender address exists. That host " +
			"takes longer to answer than a mail can be kept waiting.",
		Remedy: "Nothing: your server tries again by itself, and will find the answer there. A mail host that greets at once makes " +
			"the wait shorter.",
		Safe: checks.Off, Strict: checks.Tempfail, Connects: true,
	}
	fromRejected = &checks.Reason{
		ID:    "from-callout-rejected",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{mx} takes no mail for the author address {sender}: {reply}"},
		When: "the address in the From field is another one than the sender's, and a mail host of its domain refuses it at RCPT for " +
			"good, in words that are about the address",
		Why: "This site asks the mail host of the author's domain whether the address in the From field exists. That host said no, so " +
			"nobody could answer the mail. The reply quotes the host.",
		Remedy: "Put an address that exists into the From field, or have its mail host accept it; an address that nobody reads is no " +
			"fault. The answer is remembered for some hours.",
		Safe: checks.Off, Strict: checks.Watch, Connects: true,
	}
)
