package access

import "milterd/checks"

// The remedy is the same for all: only the postmaster knows why the entry is there.
const remedy = "Nothing that can be done from outside: the entry was made by hand. Ask the postmaster of this site to take it out " +
	"(mail to postmaster is let through by default), and tell him the address and name that you see here."

// The reasons, in order of precedence.
var (
	clientDenied = &checks.Reason{
		ID:    "client-denied",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{client} is denied by a local list, entry {entry}{why}"},
		When:  "the client's address, or a name of it in the reverse DNS, is on a deny list, and nothing on an allow list applies",
		Why: "This site keeps a list of addresses, networks and host names that it takes no mail from, and your server is on it. The " +
			"reply shows the entry, and the reason if the site gave one.",
		Remedy: remedy,
		Safe:   checks.Reject, Strict: checks.Reject,
		NotHistory: true, Accuses: true,
	}
	heloDenied = &checks.Reason{
		ID:    "helo-denied",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "HELO {helo} is denied by a local list, entry {entry}{why}"},
		When:  "the HELO name is on a deny list, and nothing on an allow list applies",
		Why: "This site keeps a list of host names that it takes no mail from, and the one that your server gave in HELO or EHLO is on " +
			"it. The reply shows the entry, and the reason if the site gave one.",
		Remedy: remedy,
		Safe:   checks.Reject, Strict: checks.Reject,
		NotHistory: true, Accuses: true,
	}
	senderDenied = &checks.Reason{
		ID:    "sender-denied",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "sender {mail_from} is denied by a local list, entry {entry}{why}"},
		When:  "the reverse-path is on a deny list, and nothing on an allow list applies",
		Why: "This site keeps a list of sender addresses and domains that it takes no mail from, and the one in MAIL FROM is on it. The " +
			"reply shows the entry, and the reason if the site gave one.",
		Remedy: remedy,
		Safe:   checks.Reject, Strict: checks.Reject,
		NotHistory: true, Accuses: true,
	}
)
