package spf

import "milterd/checks"

// The reasons, in order of precedence. {explains} is empty, or what the domain says by exp=.
var (
	fail = &checks.Reason{
		ID:    "spf-fail",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.23", Text: "{client} may not send mail for {domain} (SPF: {match}){explains}"},
		When:  "the SPF record of the domain in MAIL FROM says that the client may not use it (RFC 7208 fail)",
		Why: "The owner of the sender's domain publishes in the DNS which servers may use it in MAIL FROM (SPF, RFC 7208), and " +
			"the server that the mail came from is not among them. Most such mail is forged. Mail that was forwarded without " +
			"a new envelope sender fails too.",
		Remedy: "If the server is yours, add it to the SPF record of the domain, or send through a server that is in it. If you " +
			"forward mail for others, rewrite the envelope sender (SRS, as mailing lists do), or ask the recipient to have this " +
			"site know you as a forwarder.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, Repair: checks.AllowInSPF,
	}
	noMail = &checks.Reason{
		ID:    "spf-no-mail",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.23", Text: "{domain} says that it sends no mail (SPF: v=spf1 -all){explains}"},
		When:  "the SPF record of the domain in MAIL FROM is `v=spf1 -all`: it sends no mail at all",
		Why: "The owner of the sender's domain publishes an SPF record without any server in it (v=spf1 -all), which means that " +
			"all mail from that domain is forged (RFC 7208 section 8.4).",
		Remedy: "If the domain shall send mail, name its servers in its SPF record, for example v=spf1 mx -all. Else use a sender " +
			"address in a domain that does.",
		Safe: checks.Reject, Strict: checks.Reject,
		Identity: true, Repair: checks.AllowInSPF,
	}
	tooWide = &checks.Reason{
		ID:    "spf-too-wide",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "the SPF record of {domain} lets any host send its mail: {match}"},
		When: "the client passes SPF, but so would addresses of all three documentation networks (RFC 5737), which nobody sends " +
			"from; for IPv6, of those of RFC 3849 and RFC 9637",
		Why: "The SPF record of the sender's domain lets addresses send mail that belong to nobody, so it lets everybody. Such a " +
			"record says nothing about who sent the mail; spammers like domains that have one.",
		Remedy: "Name only your own servers in the SPF record of the domain: no +all, no ip4: or ip6: networks of half the " +
			"Internet, no include: of a record that has them.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, Repair: checks.ReplaceSPF,
	}
	heloFail = &checks.Reason{
		ID:    "spf-helo-fail",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.23", Text: "{client} may not call itself {helo} (SPF: {match}){explains}"},
		When:  "the SPF record of the HELO name says that the client may not use it (RFC 7208 section 2.3 fail)",
		Why: "The owner of the name that your server gave in HELO or EHLO publishes which hosts may use it (SPF, RFC 7208 section " +
			"2.3), and your server is not among them. Forwarding has no part in this: a server gives its own name.",
		Remedy: "Have the server give its own full name in HELO. If that is the name it gave, add the server to the SPF record of " +
			"that name, for example v=spf1 a -all.",
		Safe: checks.Reject, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.AllowInHeloSPF,
	}
	softfail = &checks.Reason{
		ID:    "spf-softfail",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{client} probably may not send mail for {domain} (SPF: {match})"},
		When:  "the SPF record of the domain in MAIL FROM says that the client is probably not allowed (RFC 7208 softfail)",
		Why: "The SPF record of the sender's domain does not have the server that the mail came from, but its owner is not sure to " +
			"have named them all (~all, RFC 7208 section 8.5).",
		Remedy: "If the server is yours, add it to the SPF record of the domain.",
		Safe:   checks.Watch, Strict: checks.Greylist,
		Identity: true, Repair: checks.AllowInSPF,
	}
	none = &checks.Reason{
		ID:    "spf-none",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{domain} publishes no SPF record"},
		When:  "the domain in MAIL FROM publishes no SPF record",
		Why: "The sender's domain does not say which servers may send its mail (SPF, RFC 7208), so everybody can use its name " +
			"and nobody can tell.",
		Remedy: "Publish a TXT record for the domain that names its servers, for example v=spf1 mx -all.",
		Safe:   checks.Off, Strict: checks.Watch,
		Identity: true, Repair: checks.AllowInSPF,
	}
	permError = &checks.Reason{
		ID:    "spf-permerror",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.24", Text: "the SPF policy of {domain} cannot be understood: {problem}"},
		When: "the SPF record of the domain in MAIL FROM, or one that it includes, has a fault or needs more DNS lookups than " +
			"RFC 7208 section 4.6.4 allows (permerror)",
		Why: "The SPF record of the sender's domain cannot be evaluated (RFC 7208 section 8.7), so it does not tell which servers " +
			"may send mail for the domain.",
		Remedy: "Correct the SPF record where the reply says. Two records, misspelt terms, an include: of a domain without a " +
			"record, and more than ten include, a, mx, ptr, exists and redirect terms altogether are the usual causes.",
		Safe: checks.Watch, Strict: checks.Reject,
		Identity: true, Repair: checks.Elsewhere,
	}
	tempError = &checks.Reason{
		ID:    "spf-temperror",
		Reply: checks.Reply{Code: 451, Enhanced: "4.7.24", Text: "the SPF policy of {domain} could not be found out for now: {problem}"},
		When:  "the DNS did not answer for the SPF record of the domain in MAIL FROM (temperror)",
		Why: "The name servers that have the SPF record of the sender's domain, or of what that record refers to, did not answer " +
			"in time (RFC 7208 section 8.6).",
		Remedy: "Nothing at first: your server tries again by itself. If it goes on, see that the name servers of the domain answer " +
			"for the name in the reply.",
		Safe: checks.Watch, Strict: checks.Tempfail,
		Identity: true, Unanswered: true, Repair: checks.Elsewhere,
	}
)
