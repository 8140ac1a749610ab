package sender

import "milterd/checks"

// The reasons, in order of precedence.
var (
	syntax = &checks.Reason{
		ID:    "sender-syntax",
		Reply: checks.Reply{Code: 553, Enhanced: "5.1.7", Text: "sender address {mail_from} is not valid: {fault}"},
		When: "the reverse-path breaks RFC 5321 section 4.1.2, or is longer than section 4.5.3.1 allows (domain 255 octets, " +
			"path 256)",
		Why: "The sender address in MAIL FROM is not one that SMTP knows (RFC 5321 section 4.1.2). No answer and no report of a " +
			"failure could be sent to it.",
		Remedy: "Let the sending program use a complete address, local part, @ and domain, with special characters in the local " +
			"part quoted. For mail that wants no answer, the empty address <> is right.",
		Safe: checks.Reject, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	syntaxLax = &checks.Reason{
		ID:    "sender-syntax-lax",
		Reply: checks.Reply{Code: 553, Enhanced: "5.1.7", Text: "sender address {mail_from} is not valid: {fault}"},
		When: "the reverse-path breaks RFC 5321 only by stray dots in the local part, a local part over 64 octets, \"_\" in the " +
			"domain, or a dot after it",
		Why: "The sender address in MAIL FROM breaks RFC 5321 section 4.1.2 in a way that some mail systems forgive: stray dots " +
			"or more than 64 octets before the @, or an underscore or a last dot in the domain. Others cannot answer to it.",
		Remedy: "Use an address without the fault that the reply names. A local part with stray dots can be put in double quotes.",
		Safe:   checks.Watch, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	noDomain = &checks.Reason{
		ID:    "sender-no-domain",
		Reply: checks.Reply{Code: 550, Enhanced: "5.1.8", Text: "sender domain {domain} has neither MX nor address records"},
		When:  "the domain has neither MX nor A nor AAAA records",
		Why: "The DNS knows no host that takes mail for the domain of the sender address: the domain does not exist, or has " +
			"neither MX nor A nor AAAA records. No answer and no report of a failure could be sent to it.",
		Remedy: "Correct the domain in the sender address, or give it an MX record. A new record may take hours to be seen " +
			"everywhere.",
		Safe: checks.Tempfail, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.AddMX,
	}
	nullMX = &checks.Reason{
		ID:    "sender-null-mx",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.27", Text: "sender domain {domain} takes no mail: it has a null MX record"},
		When:  "the domain says that it sends and receives no mail (null MX, RFC 7505)",
		Why: "The domain of the sender address says by a null MX record that it takes no mail (RFC 7505 section 4.2), so no " +
			"answer could be sent to it. Such domains send no mail either; their names are used by forgers.",
		Remedy: "Send from a domain that takes mail. If the domain does send mail, replace its null MX (\"MX 0 .\") with the name " +
			"of a mail host.",
		Safe: checks.Reject, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.ReplaceMX,
	}
	bogusMX = &checks.Reason{
		ID:    "sender-bogus-mx",
		Reply: checks.Reply{Code: 550, Enhanced: "5.1.8", Text: "no mail host of sender domain {domain} can be reached: {hosts}"},
		When: "every MX (or without one, the domain itself) is private, loopback, otherwise not globally reachable by IANA's " +
			"special-purpose registries, or does not resolve; and none is the client itself",
		Why: "All hosts that take mail for the domain of the sender address have no address, or one that cannot be reached over " +
			"the Internet, such as 127.0.0.1 or 10.0.0.1. No answer could be sent to it. Forgers publish such records so " +
			"that no answer troubles them.",
		Remedy: "Let the MX records of the domain name hosts that exist and have public addresses. If the domain is to take no " +
			"mail, send from another one.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.ReplaceMX,
	}
	ownDomain = &checks.Reason{
		ID:    "sender-own-domain",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{domain} is a domain of this site, and its SPF policy does not pass {client} ({spf})"},
		When: "an outside, unauthenticated client uses exactly one of local_domains (a subdomain is none), and SPF does not pass " +
			"it (a pass that is too wide is none)",
		Why: "The sender address has a domain of the receiving site, but the mail came from outside, without authentication, and " +
			"from a host that the domain's SPF record does not name. Forgers do that to look like a colleague.",
		Remedy: "As a user of this site, send through its submission server with your password. As a service that sends in its " +
			"name, ask its postmaster to add your server to the SPF record, or use a sender address of your own domain.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.Elsewhere,
		NotForwarded: true, // it is about SPF, and our users write to addresses that lead back here
	}
	history = &checks.Reason{
		ID:    "sender-history",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "mail from {mail_from} was refused {refusals} times within {window} here, and none was accepted"},
		When: "more than N 5yz refusals of this reverse-path in the window, one per transaction, and no delivery; only those count " +
			"that the same client, or another that passes SPF for the sender's domain, was given for the sender's sake",
		Why: "This site has refused mail from this sender again and again lately, and has never accepted any. That is the record " +
			"of a source of spam. Refusals of forgers elsewhere, and for faults of the sending host, were not counted.",
		Remedy: "Read the replies to the mail before this one, and mend what they name. The record is forgotten by itself, or ask " +
			"the postmaster of this site: a message that is accepted ends it.",
		Safe: checks.Off, Strict: checks.Watch,
		Identity: true, NotHistory: true,
	}
	domainNew = &checks.Reason{
		ID:    "domain-new",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "sender domain {domain} is too new for this site: {since}"},
		When: "the domain was registered less than new_domain ago (RDAP), or first seen by this site less than first_seen ago; " +
			"what is unknown is never new",
		Why: "The domain of the sender address was registered, or first seen by this site, only a short time ago. Domains that are " +
			"used to send spam are mostly new, as they soon get a bad name.",
		Remedy: "Wait until the domain is older, and try again, or send from an older domain until then. If the mail is urgent, reach " +
			"the recipient in another way.",
		Safe: checks.Watch, Strict: checks.Tempfail,
		NotHistory: true,
	}
)
