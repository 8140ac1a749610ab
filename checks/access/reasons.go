package access

import "milterd/checks"

// remedy is the same for all reasons: only the postmaster of the site knows why the entry is there.
const remedy = "Ask the postmaster of this site to remove the entry; it was made by hand. Mail to postmaster is accepted by default. " +
	"Name the address, host name or sender that you see here."

// The reasons, in order of precedence.
var (
	clientDenied = &checks.Reason{
		ID:    "client-denied",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{client} is denied by a local list, entry {entry}{why}"},
		When:  "the client's address, or a name of it in the reverse DNS, is on a deny list, and nothing on an allow list applies",
		Why: "This site has a list of addresses, networks and host names from which it accepts no mail, and your server is on it. The " +
			"reply shows the entry, and the reason if the site gave one.",
		Remedy: remedy,
		Safe:   checks.Reject, Strict: checks.Reject,
		NotHistory: true, Accuses: true,
	}
	heloDenied = &checks.Reason{
		ID:    "helo-denied",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO {helo} is denied by a local list, entry {entry}{why}"},
		When:  "the HELO name is on a deny list, and nothing on an allow list applies",
		Why: "This site has a list of host names from which it accepts no mail, and the name that your server sent in HELO or EHLO is " +
			"on it. The reply shows the entry, and the reason if the site gave one.",
		Remedy: remedy,
		Safe:   checks.Reject, Strict: checks.Reject,
		NotHistory: true, Accuses: true,
	}
	senderDenied = &checks.Reason{
		ID:    "sender-denied",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "sender {mail_from} is denied by a local list, entry {entry}{why}"},
		When:  "the reverse-path is on a deny list, and nothing on an allow list applies",
		Why: "This site has a list of sender addresses and domains from which it accepts no mail, and the address in MAIL FROM is on " +
			"it. The reply shows the entry, and the reason if the site gave one.",
		Remedy: remedy,
		Safe:   checks.Reject, Strict: checks.Reject,
		NotHistory: true, Accuses: true,
	}
)
