package dmarc

import "milterd/checks"

// The reasons, in order of precedence. {domain} is the author domain.
var (
	rejected = &checks.Reason{
		ID: "dmarc-reject",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1",
			Text: "rejected by the DMARC policy of {domain}: neither SPF nor DKIM shows that it sent this"},
		When: "DMARC fails, the policy of the domain in From is reject, and nobody is known to have passed the message on",
		Why: "The domain in the From field asks to refuse mail that it did not send (DMARC, p=reject). A message shows its origin by " +
			"SPF for a sender address in the domain, or by a DKIM signature of the domain. This one does neither. Most such mail is " +
			"forged.",
		Remedy: "If you send for the domain, sign the message with DKIM with d= the domain in From or its organisational domain, or " +
			"send from a server that is in the SPF record, with a sender address in the domain. If you forward mail, do not change " +
			"the body and the signed fields. A mailing list that changes them should put its own address into From.",
		Safe: checks.Reject, Strict: checks.Reject,
		Repair: checks.AlignFrom,
	}
	quarantined = &checks.Reason{
		ID: "dmarc-quarantine",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1",
			Text: "suspicious by the DMARC policy of {domain}: neither SPF nor DKIM shows that it sent this"},
		When: "nobody is known to have passed the message on, and either DMARC fails with the policy quarantine (or reject, while the " +
			"domain tests it with `t=y`), or From has addresses of more than five domains, of which the first five do not fail with a policy",
		Why: "The domain in the From field asks to treat mail that it did not send as suspicious (DMARC, p=quarantine). A message " +
			"shows its origin by SPF for a sender address in the domain, or by a DKIM signature of the domain. This one does neither. " +
			"A message with many domains in From is as suspicious, as a forger can hide a domain among them.",
		Remedy: rejected.Remedy,
		Safe:   checks.Tag, Strict: checks.Quarantine,
		Repair: checks.AlignFrom,
	}
	fromList = &checks.Reason{
		ID: "dmarc-list",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1",
			Text: "fails the DMARC policy of {domain} ({policy}), and the mailing list {list} is not known here"},
		When: "DMARC fails with the policy reject or quarantine, and the message comes from a mailing list whose domain is confirmed, " +
			"but from which little mail came before",
		Why: "The domain in the From field asks to refuse or suspect mail that it did not send (DMARC). The message has the fields of a " +
			"mailing list, and comes from the domain of that list. Lists often change messages, so that their signatures fail. But " +
			"anybody can write these fields, and this site does not know the list yet.",
		Remedy: "Operators of lists: do not change the body and the signed fields, or put the address of the list into From for domains " +
			"with such a policy. The list becomes known here by sending for some days without complaints.",
		Safe: checks.Tag, Strict: checks.Quarantine,
	}
	indirect = &checks.Reason{
		ID:    "dmarc-indirect",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "fails the DMARC policy of {domain} ({policy}): {path}"},
		When: "DMARC fails with the policy reject or quarantine, and the client is a forwarder of the recipient, a trusted client " +
			"(`checks.dmarc.trusted`), a known relay of other people's mail, or a known mailing list",
		Why: "The domain in the From field asks to refuse or suspect mail that it did not send (DMARC). The message was passed on by " +
			"a host that is known to pass on mail of others, which often breaks SPF and DKIM.",
		Remedy: "Operators of forwarders and lists: do not change the body and the signed fields, or put your own address into From.",
		Safe:   checks.Watch, Strict: checks.Greylist,
	}
	failed = &checks.Reason{
		ID: "dmarc-fail",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1",
			Text: "neither SPF nor DKIM shows that {domain} sent this (DMARC, p=none)"},
		When: "DMARC fails, and the policy of the domain in From is none, or quarantine while the domain tests it (`t=y`)",
		Why: "The domain in the From field has a DMARC record, but asks for nothing if a message does not show that it comes from the " +
			"domain (p=none). This message does not.",
		Remedy: "Sign with DKIM with d= the domain in From or its organisational domain, or send from a server that is in the SPF " +
			"record, with a sender address in the domain.",
		Safe: checks.Off, Strict: checks.Watch,
		Repair: checks.AlignFrom,
	}
	authNone = &checks.Reason{
		ID: "auth-none",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.26",
			Text: "neither SPF nor DKIM passes for any domain; SPF: {spf}; DKIM: {dkim}"},
		When: "neither SPF (of MAIL FROM, or of HELO with a null reverse-path) nor DKIM passes for any domain",
		Why: "Nothing shows who sent the message: SPF does not pass, and no DKIM signature does. Large mail providers refuse such mail " +
			"from everybody.",
		Remedy: "Publish an SPF record for the domain of the sender address that lists your server, or sign with DKIM. Do both if you " +
			"can: SPF does not survive forwarding.",
		Safe: checks.Watch, Strict: checks.Reject, BounceWatch: true, NotForwarded: true,
		Repair: checks.AllowInSPF,
	}
	fromUnaligned = &checks.Reason{
		ID: "from-unaligned",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.22",
			Text: "SPF or DKIM passes for {passes}, but not for {domain} in From"},
		When: "SPF or DKIM passes, but for no domain of the organisation in From, which has no DMARC record",
		Why: "SPF and DKIM show which domain sent the message, but it is another one than the reader sees in From. The domain in From " +
			"has no DMARC record that would say whether this may be.",
		Remedy: "Sign with DKIM with d= the domain in From, or use a sender address in that domain. Publish a DMARC record.",
		Safe:   checks.Off, Strict: checks.Watch, NotForwarded: true,
		Repair: checks.AlignFrom,
	}
)
