package rdns

import "milterd/checks"

// The reasons, in order of precedence.
var (
	missing = &checks.Reason{
		ID:    "rdns-missing",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.25", Text: "{client} has no reverse DNS name"},
		When:  "the client's address has no PTR record",
		Why: "The address of your server has no name in the reverse DNS: there is no PTR record for it. Networks set a PTR record " +
			"for addresses that are meant to send mail, and most hijacked machines have none, so many sites require one.",
		Remedy: "Have the provider of the address set its PTR record to the full name of your mail server, and give that name " +
			"an A record (AAAA for IPv6) with the address.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.AddPTR,
	}
	mismatch = &checks.Reason{
		ID:    "rdns-mismatch",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.25", Text: "no reverse DNS name of {client} resolves to it: {ptr}"},
		When:  "the client's address has PTR records, but no name in them has an A or AAAA record with that address",
		Why: "The reverse DNS has a name for the address of your server, but the name does not have that address. A network can " +
			"write any name into its reverse zone. Only the address record shows that the owner of the name agrees.",
		Remedy: "Give the name in the PTR record an A record (AAAA for IPv6) with the address of your server, or have the " +
			"provider change the PTR record to a name that has one.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.AddAddressOfPTR,
	}
	dynamic = &checks.Reason{
		ID: "rdns-dynamic",
		Reply: checks.Reply{
			Code: 550, Enhanced: "5.7.1",
			Text: "{client} looks dynamically assigned: its name {ptr} has the address and the word {word}",
		},
		When: "every name of the client has, below the organisational domain, a part of its address and a word of pools (such as dyn, " +
			"dhcp, dsl, pool) or the access zone of a large provider, and no word of fixed lines or servers (such as static, vps, mail)",
		Why: "The reverse DNS name of your server has its address in it and a word for pools of dynamic addresses. Networks " +
			"give such names to addresses that they assign to customers for a while. Most mail from such addresses is sent " +
			"by hijacked machines; mail servers have names of their own.",
		Remedy: "If the address is permanently yours, have the provider set its PTR record to the full name of your mail server, and " +
			"give that name an A record (AAAA for IPv6) with the address. Otherwise, send through your provider's mail server.",
		Safe: checks.Greylist, Strict: checks.Reject,
		Identity: true, NotHistory: true, Repair: checks.AddPTR,
	}
)
