package author

import "milterd/checks"

// The reasons, in order of precedence.
var (
	multiple = &checks.Reason{
		ID:    "from-multiple",
		Reply: checks.Reply{Code: 550, Enhanced: "5.6.0", Text: "the From field has addresses of several domains: {author_domains}"},
		When:  "the From field has addresses of several domains",
		Why: "The message names authors of several domains. RFC 5322 section 3.6.2 permits several authors, but mail programs show " +
			"only one of them, and DMARC (RFC 9989 section 11.5) cannot be applied to such a message. Forgers use it to show one " +
			"domain and prove another.",
		Remedy: "Name one author in the From field, or several of one domain. Name the others in Reply-To or Cc.",
		Safe:   checks.Watch, Strict: checks.Reject,
	}
	noDomain = &checks.Reason{
		ID:    "from-no-domain",
		Reply: checks.Reply{Code: 550, Enhanced: "5.1.8", Text: "the domain {author_domain} in From has neither MX nor address records"},
		When:  "a domain in the From field has neither MX nor A nor AAAA records; a null MX counts as none",
		Why: "The domain of the address in the From field does not exist, or has neither MX nor A nor AAAA records, so nobody can " +
			"answer the message.",
		Remedy: "Correct the domain in the From field, or give it an MX record. It may take hours until all sites see a new record.",
		Safe:   checks.Watch, Strict: checks.Reject, BounceWatch: true,
	}
	encoded = &checks.Reason{
		ID:    "from-encoded",
		Reply: checks.Reply{Code: 550, Enhanced: "5.6.0", Text: "the address in From has an encoded-word: {from}"},
		When:  "the address in the From field has an encoded-word, which RFC 2047 section 5 forbids",
		Why: "The address in the From field has an encoded-word (=?charset?encoding?text?=). RFC 2047 section 5 permits these in the " +
			"display name only. Some mail programs decode them nevertheless and show another address than the one that was checked.",
		Remedy: "Write the address as it is, and encode only the display name. The program that creates the message must encode the " +
			"display name before it adds the address.",
		Safe: checks.Watch, Strict: checks.Reject,
	}
	display = &checks.Reason{
		ID:    "from-display",
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "the name in From claims to be {claimed}, but the address is {from}"},
		When:  "the display name in the From field has an address of another organisational domain than the address beside it",
		Why: "The display name in the From field has an address that belongs to another organisation than the real address. Many " +
			"mail programs show the name only, so the reader takes the message for one of that organisation.",
		Remedy: "Use the name of a person or an organisation as display name, without an address.",
		Safe:   checks.Off, Strict: checks.Watch,
	}
)
