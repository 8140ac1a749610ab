package callout

import "milterd/checks"

// The reasons, in order of precedence.
var (
	rejected = &checks.Reason{
		ID:    "callout-rejected",
		Reply: checks.Reply{Code: 550, Enhanced: "5.1.7", Text: "{mx} takes no mail for the sender address {sender}: {reply}"},
		When: "a mail host of the sender's domain refuses the address at RCPT with 5yz, in words that are about the address and not " +
			"about us",
		Why: "Before it accepts mail, this site asks the mail host of the sender's domain whether the sender address exists. That " +
			"host refused the address, so neither a reply nor a report of a failure could be sent to it. The reply quotes the host.",
		Remedy: "Use a sender address that exists, or make your mail host accept the address. If it should exist, ask your provider why " +
			"the mail host named in the reply refuses it. The answer is kept for some hours.",
		Safe: checks.Off, Strict: checks.Tempfail, Connects: true, Early: true,
	}
	unreachable = &checks.Reason{
		ID:    "callout-unreachable",
		Reply: checks.Reply{Code: 450, Enhanced: "4.1.7", Text: "no mail host says whether {sender} exists; {mx} at {at}: {reply}"},
		When:  "no mail host of the sender's domain gives a definite answer: unreachable, broken, temporary, or one that refuses callouts",
		Why: "Before it accepts mail, this site asks the mail host of the sender's domain whether the sender address exists. No mail " +
			"host of the domain could be reached, or none gave a definite answer. The reply names the host, the last step and what " +
			"happened.",
		Remedy: "Make sure that the mail hosts in the MX records of the domain can be reached on port 25, and that they accept mail with " +
			"the empty sender address <>, as RFC 5321 section 4.5.5 requires.",
		Safe: checks.Off, Strict: checks.Watch, Connects: true, Early: true,
	}
	pending = &checks.Reason{
		ID:    "callout-pending",
		Reply: checks.Reply{Code: 450, Enhanced: "4.1.7", Text: "a mail host of {sender} is still being asked whether it exists, please try again"},
		When:  "the mail hosts of the sender's domain have not answered yet; they are still being asked, for up to 60 s",
		Why: "Before it accepts mail, this site asks the mail host of the sender's domain whether the sender address exists. That host " +
			"takes longer to answer than this site can delay the mail.",
		Remedy: "Nothing: your server retries by itself, and the answer will be there then. The delay is shorter if the mail host sends " +
			"its greeting at once.",
		Safe: checks.Off, Strict: checks.Tempfail, Connects: true, Early: true,
	}
	fromRejected = &checks.Reason{
		ID:    "from-callout-rejected",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{mx} takes no mail for the author address {sender}: {reply}"},
		When: "the address in the From field is not the sender's, and a mail host of its domain refuses it at RCPT with 5yz, in words " +
			"that are about the address",
		Why: "This site asks the mail host of the author's domain whether the address in the From field exists. That host refused the " +
			"address, so nobody could reply to the mail. The reply quotes the host.",
		Remedy: "Write an address that exists into the From field, or make its mail host accept the address; it need not be read by " +
			"anybody. The answer is kept for some hours.",
		Safe: checks.Off, Strict: checks.Watch, Connects: true,
	}
)
