package rate

import "milterd/checks"

// The reasons, in order of precedence.
var (
	userRate = &checks.Reason{
		ID:    "user-rate",
		Reply: checks.Reply{Code: 451, Enhanced: "4.7.28", Text: "the user {user} has reached the limit of {limit}, please try again after {until}"},
		When:  "an authenticated user sends to more recipients than `user` or `users` allows, in sessions of trusted clients too",
		Why: "This account sent to more recipients than it may in this time. That is the usual sign of a stolen password: the account " +
			"suddenly sends to hundreds of strangers.",
		Remedy: "If you sent this mail, try again after the time in the reply, or ask the postmaster for a higher limit. If you did " +
			"not, change the password of the account at once.",
		Safe: checks.Tempfail, Strict: checks.Tempfail,
		Early: true, NotHistory: true,
	}
	clientRate = &checks.Reason{
		ID:    "client-rate",
		Reply: checks.Reply{Code: 451, Enhanced: "4.7.28", Text: "the network {network} has reached the limit of {limit}, please try again after {until}"},
		When:  "a client network (IPv4 /24, IPv6 /64) sends to more recipients than `client` allows",
		Why: "Your network sent to more recipients of this site than it accepts in this time. Honest servers wait and try again; a " +
			"wave of junk does not.",
		Remedy: "Nothing, if the mail is wanted: your server tries again by itself. Send bulk mail more slowly, or agree on a higher " +
			"limit with the postmaster of this site.",
		Safe: checks.Tempfail, Strict: checks.Tempfail,
		Early: true, NotHistory: true, NotForwarded: true,
	}
	domainRate = &checks.Reason{
		ID:    "domain-rate",
		Reply: checks.Reply{Code: 451, Enhanced: "4.7.28", Text: "the domain {sender_domain} has reached the limit of {limit}, please try again after {until}"},
		When:  "an organisational sender domain that passes SPF or DKIM sends to more recipients than `domain` allows",
		Why: "Your domain sent to more recipients of this site than it accepts in this time, from servers that the domain itself " +
			"names in SPF, or with its DKIM signature.",
		Remedy: "Nothing, if the mail is wanted: your server tries again by itself. Send bulk mail more slowly, or agree on a higher " +
			"limit with the postmaster of this site.",
		Safe: checks.Tempfail, Strict: checks.Tempfail,
		NotHistory: true, NotForwarded: true,
	}
)
