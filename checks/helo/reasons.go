package helo

import "milterd/checks"

// The reasons, in order of precedence.
var (
	missing = &checks.Reason{
		ID:    "helo-missing",
		Reply: checks.Reply{Code: 503, Enhanced: "5.5.1", Text: "{client} sent MAIL before HELO or EHLO"},
		When:  "the client sends MAIL before HELO or EHLO",
		Why: "Your server sent MAIL before it gave its name. SMTP requires HELO or EHLO first (RFC 5321 section 4.1.4), and all " +
			"mail servers send one.",
		Remedy: "Configure the program to send EHLO with its full host name before the first MAIL, and again after STARTTLS.",
		Safe:   checks.Watch, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	syntax = &checks.Reason{
		ID:    "helo-syntax",
		Reply: checks.Reply{Code: 501, Enhanced: "5.5.2", Text: "HELO {helo} is no domain name and no address literal: {fault}"},
		When:  "the HELO name is neither a domain name nor an address literal (RFC 5321 section 4.1.2)",
		Why: "The name that your server gave in HELO or EHLO cannot be a host name. The parts between the dots have letters, digits " +
			"and inner hyphens, at most 63 characters each. Only unconfigured programs and programs that are no mail servers " +
			"send such names.",
		Remedy: "Set the HELO name of your mail server to its full host name, such as mail.example.net.",
		Safe:   checks.Reject, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	underscore = &checks.Reason{
		ID:    "helo-underscore",
		Reply: checks.Reply{Code: 501, Enhanced: "5.5.2", Text: "HELO name {helo} has an underscore, which host names must not have"},
		When:  "the HELO name has an underscore and is otherwise well formed",
		Why: "The name that your server gave in HELO or EHLO has an underscore. Host names have only letters, digits and hyphens " +
			"(RFC 5321 section 4.1.2). Such a name is usually that of a Windows workstation.",
		Remedy: "Set the HELO name of your mail server to its full host name in the DNS, with a hyphen in place of the underscore.",
		Safe:   checks.Watch, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	bareIP = &checks.Reason{
		ID:    "helo-bare-ip",
		Reply: checks.Reply{Code: 501, Enhanced: "5.5.2", Text: "HELO {helo} is an IP address, neither a host name nor the literal {literal}"},
		When:  "the HELO name is an IP address without brackets",
		Why: "Your server gave an IP address as its name in HELO or EHLO. RFC 5321 section 4.1.4 requires a host name, or the " +
			"address in brackets if the host has no name. Mail servers have names; many spam programs do not.",
		Remedy: "Set the HELO name of your mail server to its full host name, such as mail.example.net.",
		Safe:   checks.Reject, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	notFQDN = &checks.Reason{
		ID:    "helo-not-fqdn",
		Reply: checks.Reply{Code: 504, Enhanced: "5.5.2", Text: "HELO name {helo} is not a full domain name"},
		When:  "the HELO name is a single label",
		Why: "The name that your server gave in HELO or EHLO has no dot, so it has a meaning in your own network only. RFC 5321 " +
			"section 2.3.5 requires the full domain name.",
		Remedy: "Set the HELO name of your mail server to its full host name, such as mail.example.net instead of mail.",
		Safe:   checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	literal = &checks.Reason{
		ID:    "helo-literal",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO {helo} is not the address of {client}"},
		When:  "the HELO name is an address literal outside the client's /24 (IPv6: /64)",
		Why: "Your server gave an address literal in HELO or EHLO that is not the address it connected from, nor near it. RFC 5321 " +
			"section 4.1.4 leaves it to each site whether to accept this, and this site does not: most such hosts are hijacked.",
		Remedy: "Set the HELO name of your mail server to its full host name. If it has none, use the literal of its address on " +
			"the Internet, not of its address behind the router.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	literalNear = &checks.Reason{
		ID:    "helo-literal-near",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO {helo} is a neighbour of {client}, not its own address"},
		When:  "the HELO name is an address literal of the client's /24 (IPv6: /64), but not its own",
		Why: "Your server gave an address literal in HELO or EHLO that is near the address it connected from, but is another " +
			"address. RFC 5321 section 4.1.4 leaves it to each site whether to accept this, and this site does not.",
		Remedy: "Set the HELO name of your mail server to its full host name, or bind its outgoing connections to the address in " +
			"the literal.",
		Safe: checks.Watch, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
	ownName = &checks.Reason{
		ID:    "helo-own-name",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO {helo} belongs to this site, and {client} does not"},
		When: "the HELO name is our hostname, our address without brackets, or exactly one of local_domains or own_names (a name " +
			"below them is not), and neither resolves to the client nor passes SPF for it as HELO identity",
		Why: "Your server gave a name of the receiving site as its own name in HELO or EHLO. Spam programs do so to be taken for a " +
			"host of the site; honest servers do not.",
		Remedy: "Set the HELO name of your mail server to its own full host name. If the server belongs to this site, give the " +
			"name an A or AAAA record with its address, or add the address to the SPF record of the name.",
		Safe: checks.Reject, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.Elsewhere,
	}
	unresolvable = &checks.Reason{
		ID:    "helo-unresolvable",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO name {helo} has neither an A nor an AAAA record"},
		When:  "the HELO name has neither an A nor an AAAA record",
		Why: "The name that your server gave in HELO or EHLO has no address in the DNS. RFC 5321 section 2.3.5 requires a name that " +
			"resolves, which shows whose server it is.",
		Remedy: "Give the name an A record (AAAA for IPv6) with the address of your server, or set the HELO name to a name that " +
			"has one, preferably the name in the PTR record.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.AddAddress,
	}
	cname = &checks.Reason{
		ID:    "helo-cname",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO name {helo} is an alias of {target}, not a host's own name"},
		When:  "the HELO name is a CNAME",
		Why: "The name that your server gave in HELO or EHLO is an alias (CNAME). RFC 5321 section 2.3.5 requires the host's " +
			"primary name.",
		Remedy: "Set the HELO name of your mail server to the target of the alias, or give the name an A or AAAA record in place " +
			"of the CNAME.",
		Safe: checks.Watch, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.ReplaceCNAME,
	}
	mismatch = &checks.Reason{
		ID:    "helo-mismatch",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO name {helo} neither resolves to {client} nor is its reverse DNS name"},
		When:  "the HELO name is no confirmed name of the client: neither equal to a PTR name nor resolving to the client",
		Why: "The name that your server gave in HELO or EHLO does not have the address it connected from, and is not the name of " +
			"that address in the reverse DNS. This is a policy of this site: RFC 5321 section 4.1.4 does not require that they " +
			"match, and does not allow a site to refuse mail only because they do not.",
		Remedy: "Set the HELO name of your mail server to the name in the PTR record of its address, or give the name an A " +
			"record (AAAA for IPv6) with that address.",
		Safe: checks.Watch, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.AddAddress,
	}
	changed = &checks.Reason{
		ID:    "helo-changed",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO name changed from {previous} to {helo} in one connection"},
		When:  "the client gives another HELO name later in the same connection (the repeat after STARTTLS is none)",
		Why: "Your server gave two different names in HELO or EHLO during one connection. A host has one name; spam programs try " +
			"several to find one that is accepted.",
		Remedy: "Configure the program to give the same full host name each time, or to open a new connection for another name.",
		Safe:   checks.Watch, Strict: checks.Reject,
		Identity: true, NotHistory: true,
	}
)
