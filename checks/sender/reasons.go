package sender

import "milterd/checks"

// The reasons, in order of precedence.
var (
	syntax = &checks.Reason{
		ID:    "sender-syntax",
		Reply: checks.Reply{Code: 553, Enhanced: "5.1.7", Text: "sender address {mail_from} is not valid: {fault}"},
		When: "the reverse-path breaks RFC 5321 section 4.1.2, or is longer than section 4.5.3.1 allows (domain 255 octets, " +
			"path 256)",
		Why: "The sender address in MAIL FROM is not valid (RFC 5321 section 4.1.2), so no answer and no failure report can be " +
			"sent to it.",
		Remedy: "Configure the sending program to use a complete address: local part, @ and domain, with special characters in the " +
			"local part quoted. For mail that needs no answer, use the empty address <>.",
		Safe: checks.Reject, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	syntaxLax = &checks.Reason{
		ID:    "sender-syntax-lax",
		Reply: checks.Reply{Code: 553, Enhanced: "5.1.7", Text: "sender address {mail_from} is not valid: {fault}"},
		When: "the reverse-path breaks RFC 5321 only by stray dots in the local part, a local part over 64 octets, \"_\" in the " +
			"domain, or a dot after it",
		Why: "The sender address in MAIL FROM breaks RFC 5321 section 4.1.2 in a way that some mail systems accept: stray dots or " +
			"more than 64 characters before the @, or an underscore or a trailing dot in the domain. Other systems cannot " +
			"answer to it.",
		Remedy: "Use an address without the fault that the reply names. A local part with stray dots can be put in double quotes.",
		Safe:   checks.Watch, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	noDomain = &checks.Reason{
		ID:    "sender-no-domain",
		Reply: checks.Reply{Code: 550, Enhanced: "5.1.8", Text: "sender domain {domain} has neither MX nor address records"},
		When:  "the domain has neither MX nor A nor AAAA records",
		Why: "The domain of the sender address does not exist, or has neither MX nor A nor AAAA records, so no answer and no " +
			"failure report can be sent to it.",
		Remedy: "Correct the domain in the sender address, or give it an MX record. It may take hours until all sites see a new " +
			"record.",
		Safe: checks.Tempfail, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.AddMX,
	}
	nullMX = &checks.Reason{
		ID:    "sender-null-mx",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.27", Text: "sender domain {domain} accepts no mail: it has a null MX record"},
		When: "the domain says that it sends and receives no mail (null MX, RFC 7505): its only MX is the root, of whatever " +
			"preference, as Postfix takes it",
		Why: "The domain of the sender address has a null MX record: it accepts no mail (RFC 7505 section 4.2), so no answer can be " +
			"sent to it. Such domains send no mail either, and mail in their name is usually forged.",
		Remedy: "Send from a domain that accepts mail. If the domain does send mail, replace its null MX (\"MX 0 .\") by the name " +
			"of a mail host.",
		Safe: checks.Reject, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.ReplaceMX,
	}
	bogusMX = &checks.Reason{
		ID:    "sender-bogus-mx",
		Reply: checks.Reply{Code: 550, Enhanced: "5.1.8", Text: "no mail host of sender domain {domain} can be reached: {hosts}"},
		When: "every MX (or without one, the domain itself) is private, loopback, otherwise not globally reachable by IANA's " +
			"special-purpose registries, or does not resolve; and none is the client itself",
		Why: "No mail host of the sender's domain has an address that can be reached over the Internet: they have none, or one such " +
			"as 127.0.0.1 or 10.0.0.1. So no answer can be sent to the address. Spammers publish such records to receive no " +
			"answers.",
		Remedy: "Set the MX records of the domain to hosts that exist and have public addresses. If the domain is not to receive " +
			"mail, send from another domain.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.ReplaceMX,
	}
	ownDomain = &checks.Reason{
		ID:    "sender-own-domain",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{domain} is a domain of this site, and its SPF policy does not pass {client} ({spf})"},
		When: "an outside, unauthenticated client uses exactly one of local_domains (a subdomain is none), and SPF does not pass " +
			"it (a pass that is too wide is none)",
		Why: "The sender address is in a domain of the receiving site. But the mail came from outside, without authentication, and " +
			"the SPF record of the domain does not list the sending host. Such mail is usually forged to look internal.",
		Remedy: "If you are a user of this site, send through its submission server with your password. If you run a service that " +
			"sends in its name, ask its postmaster to add your server to the SPF record, or use a sender address in your own " +
			"domain.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.Elsewhere,
		NotForwarded: true, // it depends on SPF, and users write to addresses that are forwarded back to this site
	}
	history = &checks.Reason{
		ID:    "sender-history",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "mail from {mail_from} was refused {refusals} times within {window} here, and none was accepted"},
		When: "the reverse-path had more than `history` 5yz refusals within `history_window`, one per transaction, and no delivery; " +
			"only refusals count that concern the sender and were given to the same client, or to another one that passes SPF for " +
			"the sender's domain",
		Why: "This site recently refused mail from this sender many times and accepted none. Senders of spam have such a history. " +
			"Refusals of other hosts that forged the address, and refusals for faults of the sending host, were not counted.",
		Remedy: "Correct what the replies to your earlier mail name. Then wait until the refusals are no longer counted, or ask the " +
			"postmaster of this site: one accepted message ends it.",
		Safe: checks.Off, Strict: checks.Watch,
		Identity: true, NotHistory: true,
	}
	domainNew = &checks.Reason{
		ID:    "domain-new",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "sender domain {domain} is too new for this site: {since}"},
		When: "the domain was registered less than `new_domain` ago (RDAP), or first seen by this site less than `first_seen` ago; " +
			"a domain of unknown age is not new",
		Why: "The domain of the sender address was registered, or first seen by this site, only a short time ago. Domains that " +
			"send spam are mostly new, as they are soon listed.",
		Remedy: "Wait until the domain is older and send again, or send from an older domain until then. If the mail is urgent, " +
			"contact the recipient in another way.",
		Safe: checks.Watch, Strict: checks.Tempfail,
		NotHistory: true,
	}
)
