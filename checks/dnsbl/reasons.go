package dnsbl

import "milterd/checks"

// The reasons, in order of precedence.
var (
	listed = &checks.Reason{
		ID:    "dnsbl-listed",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{lookup} is listed in {zone}: {text}"},
		When:  "the client's address is in a zone with query: client, with one of the zone's codes; error codes, failures and zones that are switched off never count",
		Why: "The address of your server is on a list that this site asks (a DNSBL): mostly because unwanted mail came from it, or " +
			"because its network says that no mail should. The reply names the list and shows what the list says about it.",
		Remedy: "Look the address up on the web page of the list, end what it was listed for (a hijacked account or machine, mostly), " +
			"and ask the list to remove it. This site cannot. If the list is for dial-up addresses, send through your provider.",
		Safe: checks.Reject, Strict: checks.Reject,
		Accuses: true, Repair: checks.Elsewhere,
	}
	nameListed = &checks.Reason{
		ID:    "rhsbl-listed",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{what} {lookup} is listed in {zone}: {text}"},
		When:  "the sender's domain, the HELO name or a confirmed name of the client is in a zone with that query, with one of the zone's codes",
		Why: "The sender's domain, the name that your server gave in HELO, or its name in the DNS is on a list that this site asks " +
			"(an RHSBL), mostly because it was seen in unwanted mail. The reply says which name it is, names the list and shows what " +
			"the list says about it.",
		Remedy: "Look the name up on the web page of the list, end what it was listed for, and ask the list to remove it. This site " +
			"cannot. A domain that was registered lately may be listed for that alone and comes off by itself.",
		Safe: checks.Reject, Strict: checks.Reject,
		Accuses: true, Repair: checks.Elsewhere,
	}
)
