package spf

import "milterd/checks"

// The reasons, in order of precedence. {explains} is empty, or the text that the domain publishes by exp=.
var (
	fail = &checks.Reason{
		ID:    "spf-fail",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.23", Text: "{client} may not send mail for {domain} (SPF: {match}){explains}"},
		When: "the SPF record of the domain in MAIL FROM does not allow the client to use the domain (RFC 7208 fail), and no valid " +
			"DKIM signature is of the domain in From or MAIL FROM",
		Why: "The SPF record of the sender's domain lists the servers that may use the domain in MAIL FROM (RFC 7208). The " +
			"server that sent this mail is not among them, and the mail has no valid DKIM signature of the domain either, with " +
			"which it could be forwarded. Most such mail is forged.",
		Remedy: "If the server is yours, add it to the SPF record of the domain, or send through a server that is in the record. " +
			"Sign your mail with DKIM, so that it can be forwarded. If you forward mail for others, do not change what is " +
			"signed, rewrite the envelope sender (SRS), or ask the recipient to have your server registered as a forwarder at " +
			"this site.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, Repair: checks.AllowInSPF,
	}
	noMail = &checks.Reason{
		ID:    "spf-no-mail",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.23", Text: "{domain} says that it sends no mail (SPF: v=spf1 -all){explains}"},
		When:  "the SPF record of the domain in MAIL FROM is `v=spf1 -all`: the domain sends no mail",
		Why: "The SPF record of the sender's domain is \"v=spf1 -all\", which lists no server: the domain sends no mail at all. " +
			"Mail with a sender address in this domain is forged, or the record is wrong.",
		Remedy: "If the domain sends mail, list its servers in the SPF record, for example \"v=spf1 mx -all\". If it does not, use " +
			"a sender address in another domain.",
		Safe: checks.Reject, Strict: checks.Reject,
		Early: true, Identity: true, Repair: checks.AllowInSPF,
	}
	tooWide = &checks.Reason{
		ID:    "spf-too-wide",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "the SPF record of {domain} lets any host send its mail: {match}"},
		When: "the client passes SPF, but so would addresses of all three documentation networks (RFC 5737), which belong to " +
			"nobody; for IPv6, of those of RFC 3849 and RFC 9637; terms with a macro of the local part do not count",
		Why: "The SPF record of the sender's domain allows addresses that belong to nobody, so in effect it allows any host. Such " +
			"a record does not show who sent the mail, and many spammers use domains that have one.",
		Remedy: "List only your own servers in the SPF record of the domain. Remove +all, ip4: and ip6: terms for large parts of " +
			"the Internet, and include: of records that have such terms.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Early: true, Identity: true, Repair: checks.ReplaceSPF,
	}
	heloFail = &checks.Reason{
		ID:    "spf-helo-fail",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.23", Text: "{client} may not call itself {helo} (SPF: {match}){explains}"},
		When:  "the SPF record of the HELO name does not allow the client to use the name (RFC 7208 section 2.3, fail)",
		Why: "The SPF record of the name that your server gave in HELO or EHLO lists the hosts that may use the name (RFC 7208 " +
			"section 2.3). Your server is not among them. Forwarding is not the cause, as a server gives its own name in HELO.",
		Remedy: "Configure the server to give its own full host name in HELO. If it did so, add the server to the SPF record of " +
			"that name, for example \"v=spf1 a -all\".",
		Safe: checks.Reject, Strict: checks.Reject,
		Early: true, Identity: true, NotHistory: true, Repair: checks.AllowInHeloSPF,
	}
	softfail = &checks.Reason{
		ID:    "spf-softfail",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{client} probably may not send mail for {domain} (SPF: {match})"},
		When:  "the SPF record of the domain in MAIL FROM says that the client is probably not allowed (RFC 7208 softfail)",
		Why: "The SPF record of the sender's domain does not list the server that sent this mail. Its owner marked the list as " +
			"possibly incomplete (~all, RFC 7208 section 8.5).",
		Remedy: "If the server is yours, add it to the SPF record of the domain. If it is not, send through a server that is in " +
			"the record.",
		Safe: checks.Watch, Strict: checks.Greylist,
		Early: true, Identity: true, Repair: checks.AllowInSPF,
	}
	none = &checks.Reason{
		ID:    "spf-none",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{domain} publishes no SPF record"},
		When:  "the domain in MAIL FROM publishes no SPF record",
		Why: "The sender's domain does not publish which servers may send its mail (SPF, RFC 7208). Without such a record, forged " +
			"mail cannot be distinguished from yours.",
		Remedy: "Publish a TXT record for the domain that lists its servers, for example \"v=spf1 mx -all\".",
		Safe:   checks.Off, Strict: checks.Watch,
		Early: true, Identity: true, Repair: checks.AllowInSPF,
	}
	permError = &checks.Reason{
		ID:    "spf-permerror",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.24", Text: "the SPF policy of {domain} has an error: {problem}"},
		When: "the SPF record of the domain in MAIL FROM, or a record that it includes, has an error or needs more DNS lookups " +
			"than RFC 7208 section 4.6.4 allows (permerror)",
		Why: "The SPF record of the sender's domain has an error, so it cannot be used to decide which servers may send mail for " +
			"the domain (RFC 7208 section 8.7).",
		Remedy: "Correct the SPF record at the place that the reply names. The usual causes are: two SPF records, a misspelt term, " +
			"an include: of a domain without SPF record, and more than ten include, a, mx, ptr, exists and redirect terms in " +
			"total.",
		Safe: checks.Watch, Strict: checks.Reject,
		Early: true, Identity: true, Repair: checks.Elsewhere,
	}
	tempError = &checks.Reason{
		ID:    "spf-temperror",
		Reply: checks.Reply{Code: 451, Enhanced: "4.7.24", Text: "the SPF policy of {domain} could not be looked up: {problem}"},
		When:  "the DNS did not answer for the SPF record of the domain in MAIL FROM (temperror)",
		Why: "The DNS servers for the SPF record of the sender's domain, or for a name that the record refers to, did not answer " +
			"in time (RFC 7208 section 8.6).",
		Remedy: "Nothing at first: your server retries. If the error persists, make sure that the DNS servers of the domain answer " +
			"for the name in the reply.",
		Safe: checks.Watch, Strict: checks.Tempfail,
		Early: true, Identity: true, Unanswered: true, Repair: checks.Elsewhere,
	}
)
