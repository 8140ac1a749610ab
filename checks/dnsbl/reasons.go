package dnsbl

import "milterd/checks"

// The reasons, in order of precedence.
var (
	listed = &checks.Reason{
		ID:    "dnsbl-listed",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{lookup} is listed in {zone}: {text}"},
		When:  "the client's address is in a zone with query: client, with one of the zone's codes; error codes, failures and zones that are switched off never count",
		Why: "The address of your server is on a list that this site uses (a DNSBL), in most cases because unwanted mail came from it, " +
			"or because its network says that no mail should. The reply names the list and shows what it says about the address.",
		Remedy: "Look up the address on the web site of the list, end the cause of the listing (often a hijacked account or machine), " +
			"and ask the list to remove the address. This site cannot remove it. If the list is for dial-up addresses, send through the " +
			"mail server of your provider.",
		Safe: checks.Reject, Strict: checks.Reject,
		Accuses: true, Repair: checks.Elsewhere,
	}
	nameListed = &checks.Reason{
		ID:    "rhsbl-listed",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{what} {lookup} is listed in {zone}: {text}"},
		When:  "the sender's domain, the HELO name or a confirmed name of the client is in a zone with that query, with one of the zone's codes",
		Why: "The sender's domain, the name that your server sent in HELO, or its name in the DNS is on a list that this site uses " +
			"(an RHSBL), in most cases because it was seen in unwanted mail. The reply names the listed name and the list, and shows " +
			"what the list says about it.",
		Remedy: "Look up the name on the web site of the list, end the cause of the listing, and ask the list to remove the name. This " +
			"site cannot remove it. A domain may be listed only because it is new, which ends by itself.",
		Safe: checks.Reject, Strict: checks.Reject,
		Accuses: true, Repair: checks.Elsewhere,
	}
)
