package rdns

import "milterd/checks"

// The reasons, in order of precedence.
var (
	missing = &checks.Reason{
		ID:    "rdns-missing",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.25", Text: "{client} has no reverse DNS name"},
		When:  "the client's address has no PTR record",
		Why: "The address that your server sent from has no name in the reverse DNS (no PTR record). Hosts that are meant to " +
			"send mail have one, set by whoever runs the network; most hijacked machines have none. So many sites ask for it.",
		Remedy: "Have the provider of the address set its PTR record to the full name of your mail server, and give that name " +
			"an A record (AAAA for IPv6) with this address.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.AddPTR,
	}
	mismatch = &checks.Reason{
		ID:    "rdns-mismatch",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.25", Text: "no reverse DNS name of {client} leads back to it: {ptr}"},
		When:  "the client's address has PTR records, but no name in them has an A or AAAA record with that address",
		Why: "The reverse DNS gives the address of your server a name, but that name does not have this address in turn. " +
			"Anyone can write any name into a reverse zone; only the way back shows that the owner of the name agrees.",
		Remedy: "Give the name in the PTR record an A record (AAAA for IPv6) with the address of your server, or have the " +
			"provider change the PTR record to a name that has one.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.AddAddressOfPTR,
	}
	dynamic = &checks.Reason{
		ID:    "rdns-dynamic",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{client} looks dynamically assigned: its name {ptr} has the address and the word {word}"},
		When: "every name of the client has, below the organisational domain, a part of its address and a word of pools (such as dyn, " +
			"dhcp, dsl, pool), and no word of fixed lines or servers (such as static, vps, mail)",
		Why: "The reverse DNS name of your server looks like one of a pool of addresses that a network hands out to its customers for " +
			"a while: it has the address in it, and a word for such pools. Mail servers have names of their own; what sends mail " +
			"from a pool is mostly a hijacked machine.",
		Remedy: "If the address is yours for good, have the provider set its PTR record to the full name of your mail server, and give " +
			"that name an A record (AAAA for IPv6) with this address. If it is not, send through your provider's mail server.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.AddPTR,
	}
)
