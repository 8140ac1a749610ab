package mirror

// Finding is a fault of outgoing mail that a receiver could refuse it for. It has no action: the mirror refuses nothing. The table
// Findings is the only source of what commands, pages and manual say.
type Finding struct {
	ID      string // stable; begins with "mirror-"
	Title   string // what is wrong: a clause
	Meaning string // what was seen, and why receivers care
	Remedy  string // the record or setting that repairs it
	Demands []Demand
	Host    bool // it is about the host, so no user is at fault
}

// Demand is what one source says about a Finding.
type Demand struct {
	Source  *Source
	Bulk    bool   // holds for bulk senders only, see bulkMessages
	Refuses bool   // mail with the fault may be deferred, refused or put into the spam folder; otherwise it is advice
	Code    string // of the reply, where the source names it
}

// String returns the demand as a clause: "Gmail may refuse it of bulk senders (550 5.7.27)".
func (d Demand) String() string {
	text := d.Source.By + " advises against it"
	if d.Refuses {
		text = d.Source.By + " may refuse it"
	}
	if d.Bulk {
		text += " of bulk senders"
	}
	if d.Code != "" {
		text += " (" + d.Code + ")"
	}
	return text
}

// Source is a document in which a receiver says what it wants.
type Source struct {
	By    string // a receiver, or an RFC
	Title string
	URL   string
	Since string // since when it holds, as yyyy-mm or yyyy-mm-dd
	Read  string // date of the version that was read
}

// bulkMessages is the number of messages to personal accounts of a receiver, in a day and from one domain, that makes a bulk sender
// of the domain at Gmail and Outlook. Gmail never takes that back. Yahoo publishes no number.
const bulkMessages = 5000

// The receivers whose demands the mirror knows, in the order of its columns.
const (
	Gmail   = "Gmail"
	Yahoo   = "Yahoo"
	Outlook = "Outlook"
)

// Receivers returns the names of the receivers.
func Receivers() []string { return []string{Gmail, Yahoo, Outlook} }

// receiverOf are the domains of personal accounts by receiver. The demands are not about companies that have their mail hosted there.
var receiverOf = map[string]string{
	"gmail.com": Gmail, "googlemail.com": Gmail,
	"yahoo.com": Yahoo, "ymail.com": Yahoo, "rocketmail.com": Yahoo, "aol.com": Yahoo, "yahoo.co.uk": Yahoo, "yahoo.de": Yahoo,
	"yahoo.fr": Yahoo, "yahoo.it": Yahoo, "yahoo.es": Yahoo, "yahoo.com.br": Yahoo, "yahoo.co.in": Yahoo, "yahoo.ca": Yahoo,
	"outlook.com": Outlook, "hotmail.com": Outlook, "live.com": Outlook, "msn.com": Outlook, "outlook.de": Outlook,
	"hotmail.de": Outlook, "hotmail.fr": Outlook, "hotmail.co.uk": Outlook, "live.de": Outlook, "live.fr": Outlook,
}

// ReceiverOf returns the receiver of a domain with personal accounts, or "".
func ReceiverOf(domain string) string { return receiverOf[domain] }

// The sources.
var (
	gmail = &Source{
		By: Gmail, Title: "Email sender guidelines", URL: "https://support.google.com/a/answer/81126", Since: "2024-02-01", Read: "2026-03-11",
	}
	gmailFAQ = &Source{
		By: Gmail, Title: "Email sender guidelines FAQ", URL: "https://support.google.com/a/answer/14229414", Since: "2025-11", Read: "2026-03-11",
	}
	yahoo = &Source{
		By: Yahoo, Title: "Sender requirements and recommendations", URL: "https://senders.yahooinc.com/best-practices/", Since: "2024-02", Read: "2025-04-10",
	}
	outlook = &Source{
		By: Outlook, Title: "Outlook's new requirements for high-volume senders",
		URL:   "https://techcommunity.microsoft.com/blog/microsoftdefenderforoffice365blog/strengthening-email-ecosystem-outlook%E2%80%99s-new-requirements-for-high%E2%80%90volume-senders/4399730",
		Since: "2025-05-05", Read: "2025-08-02",
	}
	outlookPolicies = &Source{
		By: Outlook, Title: "Policies, practices and guidelines", URL: "https://sendersupport.olc.protection.outlook.com/pm/policies.aspx", Since: "2018", Read: "2018",
	}
	rfc8314 = &Source{
		By: "RFC 8314", Title: "Cleartext considered obsolete: use of TLS for email submission", URL: "https://www.rfc-editor.org/rfc/rfc8314", Since: "2018-01", Read: "2018-01",
	}
)

// formDemands are the demands about the form of messages, RFC 5322.
var formDemands = []Demand{
	{Source: gmailFAQ, Refuses: true}, {Source: yahoo, Refuses: true}, {Source: outlookPolicies, Refuses: true},
}

// bulkDemands are the demands on bulk senders that mail be authenticated. code is that of Gmail.
func bulkDemands(code string) []Demand {
	return []Demand{
		{Source: gmail, Bulk: true, Refuses: true, Code: code}, {Source: yahoo, Bulk: true, Refuses: true},
		{Source: outlook, Bulk: true, Refuses: true, Code: "550 5.7.515"},
	}
}

// The findings about the host: its address and its name.
var (
	RDNS = &Finding{
		ID:    "mirror-rdns",
		Host:  true,
		Title: "our address has no reverse DNS name that leads back to it",
		Meaning: "Receivers look up the name of the address that connects to them (PTR), and then the addresses of that name. The name is " +
			"missing, or does not have our address.",
		Remedy: "Have whoever runs the network of the address publish a PTR record with the name of the mail server, and give that name an " +
			"address record (A or AAAA) with this address. If mail leaves from another address or through a relay, set mirror.addresses.",
		Demands: []Demand{
			{Source: gmail, Refuses: true, Code: "550 5.7.25"}, {Source: yahoo, Refuses: true}, {Source: outlookPolicies, Refuses: true},
		},
	}
	HELO = &Finding{
		ID:      "mirror-helo",
		Host:    true,
		Title:   "the name in HELO does not have our address",
		Meaning: "RFC 5321 section 2.3.5 wants a name in HELO that resolves to the host. Receivers take another name for that of a bot.",
		Remedy: "Give the name an address record with our address, or have the mail server use its real name (Postfix: smtp_helo_name, " +
			"Sendmail: confDOMAIN_NAME).",
		Demands: []Demand{{Source: yahoo, Refuses: true}, {Source: outlookPolicies, Refuses: true}},
	}
)

// The findings about the domain and its authentication.
var (
	SPFNone = &Finding{
		ID:      "mirror-spf-none",
		Title:   "the sender's domain has no SPF record",
		Meaning: "SPF (RFC 7208) says which hosts may send mail of a domain. Without a record, no receiver can tell our host from a forger's.",
		Remedy:  "Publish a TXT record that names all hosts that send mail of the domain.",
		Demands: bulkDemands("550 5.7.27"),
	}
	SPFFail = &Finding{
		ID:      "mirror-spf-fail",
		Title:   "the SPF record of the sender's domain does not allow our address",
		Meaning: "The record gives fail, softfail or neutral for our address, or has an error, so SPF does not pass.",
		Remedy: "Add our address to the record, or repair the error. The record may ask ten DNS questions at most (RFC 7208 section 4.6.4). " +
			"If mail leaves from another address or through a relay, set mirror.addresses.",
		Demands: SPFNone.Demands,
	}
	DKIMNone = &Finding{
		ID:    "mirror-dkim-none",
		Title: "messages are not signed with DKIM, and the domain has no key",
		Meaning: "The message had no DKIM signature when milterd saw it, and the DNS has nothing below _domainkey of the domain, so no later signer " +
			"can have made one that anybody can verify.",
		Remedy: "Sign outgoing mail (OpenDKIM, rspamd or the mail server), and publish the key as SELECTOR._domainkey of the domain. Attach the signer " +
			"before milterd to have its signatures tested.",
		Demands: bulkDemands("550 5.7.30"),
	}
	DKIMFail = &Finding{
		ID:    "mirror-dkim-fail",
		Title: "no DKIM signature is valid",
		Meaning: "The key in the DNS is missing, revoked, too short or another one, something changed the message after the signer, or the signature leaves " +
			"out From or a part of the body (l=).",
		Remedy: "Publish the key of the selector that signs, of 1024 bits or more, better 2048. Let the signer be the last program that changes " +
			"messages.",
		Demands: DKIMNone.Demands,
	}
	DKIMUnaligned = &Finding{
		ID:    "mirror-dkim-unaligned",
		Title: "the DKIM signature is of another domain than From",
		Meaning: "The signature is valid, but its d= is of another organisation than the address in From, so it says nothing about the author. " +
			"SPF may still do so, until somebody forwards the message.",
		Remedy:  "Sign with a key of the domain in From.",
		Demands: []Demand{{Source: gmail, Bulk: true}, {Source: outlook, Bulk: true}},
	}
	AuthNone = &Finding{
		ID:      "mirror-auth-none",
		Title:   "neither SPF nor DKIM passes",
		Meaning: "Nothing shows that the domain sent the message. Gmail and Yahoo take no such mail of anybody.",
		Remedy:  "Repair SPF or DKIM, better both.",
		Demands: []Demand{
			{Source: gmail, Refuses: true, Code: "550 5.7.26"}, {Source: yahoo, Refuses: true}, {Source: outlook, Bulk: true, Refuses: true, Code: "550 5.7.515"},
		},
	}
	DMARCNone = &Finding{
		ID:      "mirror-dmarc-none",
		Title:   "the domain in From has no DMARC record",
		Meaning: "DMARC (RFC 9989) says what becomes of mail that only claims to be of the domain. Bulk senders must have a record, if only with p=none.",
		Remedy:  "Publish the record at _dmarc of the domain. With rua= you receive reports on who sends mail of the domain.",
		Demands: bulkDemands("421 4.7.31"),
	}
	DMARCFail = &Finding{
		ID:    "mirror-dmarc-fail",
		Title: "neither SPF nor DKIM passes for the domain in From",
		Meaning: "What passes, if anything, is of another organisation than the address in From, so DMARC fails. Receivers then also follow the policy " +
			"of the domain's owner.",
		Remedy:  "Sign with a key of the domain in From, or send with a MAIL FROM of that domain whose SPF record allows our address.",
		Demands: bulkDemands("421 4.7.32"),
	}
	FromDomain = &Finding{
		ID:      "mirror-from-domain",
		Title:   "the domain in From receives no mail",
		Meaning: "The domain has neither MX nor address records, or says that it receives no mail (RFC 7505), so nobody can answer.",
		Remedy:  "Publish an MX record, or write an address in From that can be answered.",
		Demands: []Demand{{Source: outlook, Bulk: true}},
	}
	volume = &Finding{
		ID:    "mirror-volume",
		Title: "as many messages as a bulk sender sends",
		Meaning: "On one day, 5,000 messages or more went to personal accounts of a receiver. From then on the rules for bulk senders hold for the domain, " +
			"at Gmail for ever. This is no fault by itself.",
		Remedy: "Repair what is found about the domain, also what only bulk senders must have. If so much mail is a surprise, find the user " +
			"who sent it, and limit users with checks.rate.",
		Demands: []Demand{{Source: gmailFAQ, Bulk: true}, {Source: outlook, Bulk: true}},
	}
)

// The findings about messages, which their users and programs make.
var (
	From = &Finding{
		ID:      "mirror-from",
		Title:   "From does not have exactly one address",
		Meaning: "From is missing, is there twice, names several authors, or has no valid address.",
		Remedy:  "Repair the program that writes the messages: one From field with one address.",
		Demands: formDemands,
	}
	Date = &Finding{
		ID:      "mirror-date",
		Title:   "Date is missing or invalid",
		Meaning: "RFC 5322 section 3.6 wants a Date field in each message, in the form of section 3.3.",
		Remedy:  "Repair the program that writes the messages. Postfix adds a missing field to mail of local_header_rewrite_clients.",
		Demands: formDemands,
	}
	MessageID = &Finding{
		ID:      "mirror-message-id",
		Title:   "Message-ID is missing or invalid",
		Meaning: "RFC 5322 section 3.6.4 wants one id of the form <left@right>. Receivers recognise copies and answers by it.",
		Remedy:  "Repair the program that writes the messages. Postfix adds a missing field to mail of local_header_rewrite_clients.",
		Demands: formDemands,
	}
	TLS = &Finding{
		ID:    "mirror-tls",
		Title: "a user submits mail without TLS",
		Meaning: "The user authenticated over an open connection, so others could read the password and send in the user's name. (milterd does not see " +
			"how the mail server sends to receivers; Gmail demands TLS there. If a proxy before the mail server ends TLS, this is no fault.)",
		Remedy: "Offer authentication over TLS alone (Postfix: smtpd_tls_auth_only = yes), and switch TLS on for outgoing mail (Postfix: " +
			"smtp_tls_security_level = may).",
		Demands: []Demand{{Source: rfc8314}},
	}
	Unsubscribe = &Finding{
		ID:    "mirror-unsubscribe",
		Title: "a message to many recipients has no one-click unsubscribe",
		Meaning: "RFC 8058: List-Unsubscribe has an https link, List-Unsubscribe-Post is List-Unsubscribe=One-Click, and the DKIM signature covers " +
			"both. Receivers want it in advertising and newsletters, not in personal mail or receipts. The key mirror.bulk is from how many recipients on a message counts as such.",
		Remedy:  "Have the program that sends the newsletter write both fields, and the signer sign them (OpenDKIM: SignHeaders *,+List-Unsubscribe-Post).",
		Demands: []Demand{{Source: gmail, Bulk: true}, {Source: yahoo, Bulk: true}, {Source: outlook, Bulk: true}},
	}
)

// Findings returns all findings: about the host, the domain, the message.
func Findings() []*Finding {
	return []*Finding{
		RDNS, HELO,
		AuthNone, SPFNone, SPFFail, DKIMNone, DKIMFail, DKIMUnaligned, DMARCNone, DMARCFail, FromDomain, volume,
		From, Date, MessageID, TLS, Unsubscribe,
	}
}
