package dkim

import "milterd/checks"

// The reasons, in order of precedence.
var (
	fail = &checks.Reason{
		ID:    "dkim-fail",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.20", Text: "the DKIM signature of {signing_domain} is not valid: {problem}"},
		When: "the message has DKIM signatures, none of them passes, and one fails for good: the body or a signed field was changed, " +
			"or the key was revoked",
		Why: "The message has a DKIM signature (RFC 6376), but what arrived is not what was signed, or the domain revoked the key. " +
			"Often a mail filter, a mailing list or a forwarder added a footer, changed the subject or folded a field again after " +
			"signing. Some such mail is forged.",
		Remedy: "Sign as the last step, after all filters that change the message. Use relaxed/relaxed canonicalisation, and do " +
			"not sign fields that change on the way. Make sure that the public key in the DNS belongs to the private key in use. If " +
			"you run a list that changes messages, sign them yourself and put your own address into From.",
		Safe: checks.Watch, Strict: checks.Watch,
		Repair: checks.SignAgain,
	}
	none = &checks.Reason{
		ID:    "dkim-none",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.20", Text: "the message has no DKIM signature"},
		When:  "the message has no DKIM signature",
		Why: "The message has no DKIM signature (RFC 6376). Without one, nobody can see that it comes from its domain once it was " +
			"forwarded. Gmail, Yahoo and Outlook ask all who send much mail to sign it.",
		Remedy: "Sign outgoing mail with a key of your domain, and publish the public key in the DNS under selector._domainkey of " +
			"the domain. Common programs for it are OpenDKIM, rspamd, and the built-in signers of mail servers.",
		Safe: checks.Off, Strict: checks.Off,
		Repair: checks.NoRepair,
	}
)
