package checks

// Reason is one way to refuse mail. It is the only source of its reply, log field, metric label, web page and manual entry.
// Reasons are compared by address and never change.
type Reason struct {
	ID     string // stable: used in configuration files, links and labels; "helo-mismatch"
	Reply  Reply  // Text may have {placeholders}: keys of Verdict.Detail, or client, client_name, helo, mail_from, domain, rcpt
	When   string // the condition, for the manual: a phrase without a full stop
	Why    string // for the sender's postmaster: what was seen, and why sites ask for it
	Remedy string // for the sender's postmaster: what to change
	Safe   Action // default action in the profile safe
	Strict Action // default action in the profile strict
	Most   Action // most severe action allowed; the zero value is no limit

	Early        bool // never found at EndOfHeader or EndOfMessage, although its check runs there too
	Connects     bool // finding out needs a connection to a host of the sender; off in the profile watch
	NotForwarded bool // does not apply to mail that a forwarder of the recipient passes on, see Forwarders
	Identity     bool // about the identity of the client: Options.Escalate applies
	NotHistory   bool // about the host or the recipient: does not count against the sender in the reason sender-history
	Accuses      bool // a block listing or harm done to this site: counts against the sender in reports even if only watched
	Deferral     bool // a delivery that waits, which Tag and Quarantine cannot let in: they are not allowed
	Greylisting  bool // the check that greylists defers for this reason; it is no fault of the sender
	Unanswered   bool // the DNS did not answer; cannot apply where the DNS is not asked
	BounceWatch  bool // honest MTAs send bounces with this fault: it is only watched with a null reverse-path, see Options.Named

	// Repair is the change in the DNS that ends the reason. The sender's page shows the records and tests them again.
	Repair Repair
}

// Allows reports whether the reason may have the action.
func (r *Reason) Allows(a Action) bool {
	return (r.Most == Off || a <= r.Most) && (!r.Deferral || !a.marks())
}

// moreSevere reports whether r has the more severe action of two reasons in the profile safe, or if these are equal, in strict.
func (r *Reason) moreSevere(than *Reason) bool {
	return r.Safe > than.Safe || r.Safe == than.Safe && r.Strict > than.Strict
}

// Repair is a change in the DNS.
type Repair uint8

// The repairs.
const (
	NoRepair        Repair = iota // none in the DNS; the sender's page offers no test
	SignAgain                     // a signature, which only a new message can show
	Elsewhere                     // in the DNS or a DNS list, but milterd knows no record to show
	AddPTR                        // a PTR record of the client with the HELO name, and an address record back
	AddAddressOfPTR               // an address record of the client's PTR name
	AddAddress                    // an address record of the HELO name
	ReplaceCNAME                  // an address record of the HELO name in place of its CNAME record
	AddMX                         // an MX record of the sender's domain
	ReplaceMX                     // another MX record of the sender's domain
	AllowInSPF                    // an SPF record of the sender's domain that the client passes
	ReplaceSPF                    // a narrow SPF record of the sender's domain
	AllowInHeloSPF                // an SPF record of the HELO name that the client passes
	AlignFrom                     // an SPF record of the domain in From that the client passes, or a signature, which only a new message can show
)
