package helo

import "milterd/checks"

// The reasons, in order of precedence.
var (
	missing = &checks.Reason{
		ID:    "helo-missing",
		Reply: checks.Reply{Code: 503, Enhanced: "5.5.1", Text: "{client} sent MAIL without HELO or EHLO before"},
		When:  "the client sends MAIL without HELO or EHLO before",
		Why: "Your server began to send mail without saying its name. SMTP wants HELO or EHLO first (RFC 5321 section 4.1.4), " +
			"and every mail server sends one.",
		Remedy: "Let the program send EHLO and its full host name before the first MAIL, and again after STARTTLS.",
		Safe:   checks.Watch, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	syntax = &checks.Reason{
		ID:    "helo-syntax",
		Reply: checks.Reply{Code: 501, Enhanced: "5.5.2", Text: "HELO {helo} is no domain name and no address literal: {fault}"},
		When:  "the HELO name is neither a domain name nor an address literal (RFC 5321 section 4.1.2)",
		Why: "What your server gave as its name in HELO or EHLO cannot be a host name: its parts must be of letters, digits and " +
			"inner hyphens, at most 63 each. Only programs that are not configured, or no mail servers, send such names.",
		Remedy: "Set the HELO name of your mail server to its full host name, such as mail.example.net.",
		Safe:   checks.Reject, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	underscore = &checks.Reason{
		ID:    "helo-underscore",
		Reply: checks.Reply{Code: 501, Enhanced: "5.5.2", Text: "HELO name {helo} has an underscore, which no host name may have"},
		When:  "the HELO name has an underscore and is otherwise well formed",
		Why: "Your server gave a name with an underscore in HELO or EHLO. Host names have letters, digits and hyphens alone " +
			"(RFC 5321 section 4.1.2); the name is usually that of a Windows workstation.",
		Remedy: "Set the HELO name of your mail server to its full host name in the DNS, with a hyphen instead of the underscore.",
		Safe:   checks.Watch, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	bareIP = &checks.Reason{
		ID:    "helo-bare-ip",
		Reply: checks.Reply{Code: 501, Enhanced: "5.5.2", Text: "HELO {helo} is an IP address, neither a host name nor the literal {literal}"},
		When:  "the HELO name is an IP address without brackets",
		Why: "Your server gave an IP address as its name in HELO or EHLO. RFC 5321 section 4.1.4 wants a host name, or " +
			"where there is none, the address in brackets. Mail servers have a name; spam programs often do not.",
		Remedy: "Set the HELO name of your mail server to its full host name, such as mail.example.net.",
		Safe:   checks.Reject, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	notFQDN = &checks.Reason{
		ID:    "helo-not-fqdn",
		Reply: checks.Reply{Code: 504, Enhanced: "5.5.2", Text: "HELO name {helo} is not a full domain name"},
		When:  "the HELO name is a single label",
		Why: "Your server gave a short name in HELO or EHLO, which means something in your own network alone. RFC 5321 section " +
			"2.3.5 wants the full domain name, by which everybody can find the host.",
		Remedy: "Set the HELO name of your mail server to its full host name, such as mail.example.net instead of mail.",
		Safe:   checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	literal = &checks.Reason{
		ID:    "helo-literal",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO {helo} is not the address of {client}"},
		When:  "the HELO name is an address literal outside the client's /24 (IPv6: /64)",
		Why: "Your server gave an address literal in HELO or EHLO, but came from quite another address. To refuse this is the " +
			"policy of this site, which RFC 5321 section 4.1.4 leaves to it; most hosts that do it are hijacked.",
		Remedy: "Set the HELO name of your mail server to its full host name. If it has none, give the literal of the address " +
			"that it has on the Internet, not that of the network behind the router.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	literalNear = &checks.Reason{
		ID:    "helo-literal-near",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO {helo} is a neighbour of {client}, not its own address"},
		When:  "the HELO name is an address literal of the client's /24 (IPv6: /64), but not its own",
		Why: "Your server gave an address literal in HELO or EHLO that is close to the address it came from, but another one. " +
			"To refuse this is the policy of this site, which RFC 5321 section 4.1.4 leaves to it.",
		Remedy: "Set the HELO name of your mail server to its full host name, or bind its outgoing connections to the address " +
			"that it gives.",
		Safe: checks.Watch, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	ownName = &checks.Reason{
		ID:    "helo-own-name",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO {helo} is this site, and {client} does not belong to it"},
		When: "the HELO name is our hostname, our address without brackets, or exactly one of local_domains or own_names (a name " +
			"below them is not), and neither resolves to the client nor passes SPF for it as HELO identity",
		Why: "Your server gave a name of the receiving site as its own in HELO or EHLO. No honest server does that by design; " +
			"spam programs do, hoping to be taken for a host of the house.",
		Remedy: "Set the HELO name of your mail server to its own full host name. If it does belong to this site, give the name " +
			"an A or AAAA record with its address, or let the SPF record of the name pass it.",
		Safe: checks.Reject, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.Elsewhere,
	}
	unresolvable = &checks.Reason{
		ID:    "helo-unresolvable",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO name {helo} has neither an A nor an AAAA record"},
		When:  "the HELO name has neither an A nor an AAAA record",
		Why: "The DNS knows no address of the name that your server gave in HELO or EHLO. RFC 5321 section 2.3.5 wants a name " +
			"that resolves, so that one can tell whose server it is.",
		Remedy: "Give the name an A record (AAAA for IPv6) with the address of your server, or set the HELO name to one that " +
			"has it: best the one in the PTR record.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.AddAddress,
	}
	cname = &checks.Reason{
		ID:    "helo-cname",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO name {helo} is an alias of {target}, not a host's own name"},
		When:  "the HELO name is a CNAME",
		Why: "The name that your server gave in HELO or EHLO is an alias (CNAME). RFC 5321 section 2.3.5 wants the host's " +
			"primary name there.",
		Remedy: "Set the HELO name of your mail server to the name that the alias leads to, or give the name an A or AAAA " +
			"record of its own instead of the CNAME.",
		Safe: checks.Watch, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.ReplaceCNAME,
	}
	mismatch = &checks.Reason{
		ID:    "helo-mismatch",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO name {helo} neither resolves to {client} nor is its reverse DNS name"},
		When:  "the HELO name is no confirmed name of the client: neither equal to a PTR name nor resolving to the client",
		Why: "The name that your server gave in HELO or EHLO neither has the address it came from, nor is it the name of that " +
			"address in the reverse DNS. To refuse this is the policy of this site: RFC 5321 section 4.1.4 does not ask for it, " +
			"and a server is not to be refused for this by that standard alone.",
		Remedy: "Set the HELO name of your mail server to the name in the PTR record of its address, or give the name an A " +
			"record (AAAA for IPv6) with that address.",
		Safe: checks.Watch, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.AddAddress,
	}
	changed = &checks.Reason{
		ID:    "helo-changed",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO name changed from {previous} to {helo} in one connection"},
		When:  "the client gives another HELO name later in the same connection (the repeat after STARTTLS is none)",
		Why: "Your server gave two different names in HELO or EHLO during one connection. A host has one name; programs that " +
			"try name after name look for one that is let through.",
		Remedy: "Let the program give the same full host name each time, or open a new connection for another name.",
		Safe:   checks.Watch, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
)
