package config

import (
	"net/netip"
	"time"

	"milterd/checks"
)

// file is the configuration file as it is written. Its tags are the reference: yaml is the key, doc one sentence or
// two, example a value that is no default, one the texts allowed.
type file struct {
	Listen           []listenEntry `yaml:"listen" doc:"Where the MTA reaches milterd, one socket or a list: inet:PORT@HOST, inet6:PORT@HOST, unix:/path (or local:/path), or, for a unix socket that another user must open, keys as in the example." example:"{socket: unix:/run/milterd/milterd.sock, mode: \"0660\", group: postfix}"`
	Hostname         string        `yaml:"hostname" doc:"Name of this mail host as the MTA greets with it, for replies; empty: the machine's fully qualified name." example:"mx.example.org"`
	LocalDomains     []string      `yaml:"local_domains" doc:"Domains that this site receives mail for." example:"[example.org, example.net]"`
	Profile          string        `yaml:"profile" doc:"The defaults of actions: watch (log only), safe (refuse what honest mail practically never does), or strict."`
	Actions          reasonActions `yaml:"actions" doc:"What is done when a reason applies, by its id: off, watch (log it and let it pass), greylist, tempfail (4yz) or reject (5yz). False means off. Uncomment a line to change it: what it shows is the default of safe."`
	Trusted          trusted       `yaml:"trusted" doc:"Clients that are never checked, never counted and never blocked."`
	ExemptRecipients []string      `yaml:"exempt_recipients" doc:"Recipients whom every mail reaches: a local part at any domain, user@domain, @domain, or file:/path with one of these a line."`
	Policies         []policy      `yaml:"policies" doc:"Other actions for some recipients; the first policy that matches a recipient wins."`
	ReplyAt          string        `yaml:"reply_at" one:"rcpt mail" doc:"Where the reasons about client, HELO and sender answer. rcpt: at RCPT, so that exempt recipients work and the log names sender and recipient. mail: at MAIL."`
	OnError          string        `yaml:"on_error" one:"accept tempfail" doc:"What happens to mail about which a check could not find out: accept or tempfail."`
	Budget           time.Duration `yaml:"budget" doc:"How long all checks of one command may take together; Sendmail gives up after 10 s."`
	Escalate         time.Duration `yaml:"escalate" doc:"For how long the 5yz of a reason of rdns, helo, sender or spf is 4yz to a client that meets it, so that its queue keeps the mail while somebody repairs; 0: 5yz at once." example:"24h"`
	MaxConnections   int           `yaml:"max_connections" doc:"How many connections of MTAs are served at a time; one more is answered with a 4yz, and an eighth more than that not at all."`
	DNS              dnsKeys       `yaml:"dns" doc:"How the DNS is asked."`
	Store            storeKeys     `yaml:"store" doc:"What is remembered of clients, and where."`
	Explain          explainKeys   `yaml:"explain" doc:"The public pages that explain refusals to those whose mail was refused."`
	Admin            adminKeys     `yaml:"admin" doc:"How commands and the operator's tools reach the daemon."`
	TraceFields      traceKeys     `yaml:"trace_fields" doc:"What is written into the header of messages that are let in."`
	Records          recordsKeys   `yaml:"records" doc:"Decision records, for the command log and for what the public pages show of a refused mail."`
	Log              logKeys       `yaml:"log" doc:"What is logged, and where."`
	Checks           checkSettings `yaml:"checks" doc:"Settings of the checks, each by its name."`
}

type trusted struct {
	Networks      []netip.Prefix `yaml:"networks" doc:"Their networks in CIDR form, or single addresses."`
	Authenticated bool           `yaml:"authenticated" doc:"Whether a client that authenticated is trusted."`
	Daemons       []string       `yaml:"daemons" doc:"Whatever comes in by one of these {daemon_name}s is trusted: ORIGINATING is what Postfix is told for submission, MSA is Sendmail's."`
}

type policy struct {
	Recipients []string        `yaml:"recipients" doc:"To whom it applies: local parts at any domain, user@domain, @domain, or file:/path with one of these a line; a relative path starts at the folder of this file." example:"[bob@example.org, \"file:/etc/milterd/strict-recipients\"]"`
	Forwarders []string        `yaml:"forwarders" doc:"Hosts where these recipients have mail passed on to here, as addresses, networks or confirmed names (with all below them): neither SPF nor MX+ nor DNS lists are asked about it, nor is it held against the host (counters, sender-own-domain)." example:"[198.51.100.0/24, lists.example.net]"`
	Profile    string          `yaml:"profile" doc:"The defaults of its actions; without a profile of its own it starts from the actions of everyone else." example:"strict"`
	Actions    map[string]word `yaml:"actions" doc:"Its own actions, over those." example:"{helo-mismatch: reject}"`
}

type dnsKeys struct {
	Servers []string      `yaml:"servers" doc:"Name servers as address or address:port; empty: those of the system's resolv.conf." example:"[127.0.0.1, \"192.0.2.53:5353\"]"`
	Timeout time.Duration `yaml:"timeout" doc:"How long to wait for one server's answer to one question."`
}

type storeKeys struct {
	Driver string `yaml:"driver" one:"memory embedded redis" doc:"memory (forgets at every restart), embedded (files on this machine) or redis (shared by several)."`
	Path   string `yaml:"path" doc:"Folder of the embedded store; empty: $STATE_DIRECTORY, /var/lib/milterd or the state folder of the user, the first that can be written." example:"/var/lib/milterd"`
	URL    string `yaml:"url" doc:"Of Redis or Valkey, for the driver redis: redis://[user:password@]host:port/db, or rediss:// for TLS."`
}

type adminKeys struct {
	Listen   string `yaml:"listen" doc:"Address and port of the operator's pages, /metrics, /healthz and /readyz; beyond loopback only with a password. Empty: none."`
	Socket   string `yaml:"socket" doc:"Unix socket for the commands status, greylist, block, log and report; its owner and group may use it. Empty: none."`
	Password word   `yaml:"password" doc:"What a browser must give for all of them but the health pages, with any user name; empty: nothing." example:"correct-horse-battery-staple"`
}

type traceKeys struct {
	AuthenticationResults bool   `yaml:"authentication_results" doc:"Authentication-Results with spf and iprev (RFC 8601), fields that claim to be ours and are not are removed."`
	ID                    string `yaml:"id" doc:"By what name they are known as ours, the authserv-id; empty: the hostname. Another filter that runs before this one must use another."`
	ReceivedSPF           bool   `yaml:"received_spf" doc:"Received-SPF (RFC 7208 section 9.1) too."`
}

type explainKeys struct {
	Listen string `yaml:"listen" doc:"Address and port of the pages, which a web server with TLS passes on to the outside; empty: none."`
	URL    string `yaml:"url" doc:"What replies link to: where the pages are reached from outside, without the /why/ at the end; empty: replies have no link." example:"https://mx.example.org"`
	Key    string `yaml:"key" doc:"File with the key that signs links, made at the first start, the same on all hosts behind one url; empty: explain.key in the state folder." example:"/var/lib/milterd/explain.key"`
}

type recordsKeys struct {
	Keep time.Duration `yaml:"keep" doc:"How long a record is kept, and a link is valid."`
	Max  int           `yaml:"max" doc:"How many records are kept, the last ones; 0: none."`
}

type logKeys struct {
	Level  string `yaml:"level" one:"error warn info debug" doc:"The least that is logged: error, warn, info or debug."`
	Format string `yaml:"format" one:"text json" doc:"Form of the lines: text or json."`
	Syslog word   `yaml:"syslog" doc:"Syslog facility, such as mail or local3, or off; where there is no syslog the log goes to standard error."`
}

// listenEntry is one socket to listen on: a text alone, or with who may connect to it.
type listenEntry struct {
	Socket string   `yaml:"socket" doc:"unix:/path."`
	Mode   fileMode `yaml:"mode" doc:"Permissions of the socket, octal."`
	Group  string   `yaml:"group" doc:"Group that the socket belongs to."`
}

// reasonActions are actions by reason id.
type reasonActions map[string]word

// word is a text that may be written without quotes whatever YAML takes it for: off is false in YAML 1.1.
type word string

// UnmarshalText implements encoding.TextUnmarshaler.
func (w *word) UnmarshalText(text []byte) error {
	*w = word(text)
	return nil
}

// isOff tells whether a word switches something off. YAML 1.1 has more words for false than 1.2.
func (w word) isOff() bool {
	switch w {
	case "off", "Off", "OFF", "false", "False", "FALSE", "no", "No", "NO":
		return true
	}
	return false
}

// Where the commands and the operator's tools look for the daemon.
const (
	DefaultAdminSocket = "/run/milterd/admin.sock"
	DefaultAdminListen = "127.0.0.1:8893"

	DefaultExplainListen = "127.0.0.1:8892"
)

// defaults is what a file that says nothing means.
func defaults(registry []checks.Info) file {
	return file{
		Listen:  []listenEntry{{Socket: "inet:8891@127.0.0.1"}},
		Profile: checks.Safe.String(),
		Trusted: trusted{
			Networks:      []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
			Authenticated: true,
			Daemons:       []string{"ORIGINATING", "MSA"},
		},
		ExemptRecipients: []string{"postmaster", "abuse"},
		ReplyAt:          "rcpt",
		TraceFields:      traceKeys{AuthenticationResults: true},
		OnError:          "accept",
		Budget:           8 * time.Second,
		MaxConnections:   10000,
		DNS:              dnsKeys{Timeout: 2 * time.Second},
		Store:            storeKeys{Driver: "embedded"},
		Admin:            adminKeys{Listen: DefaultAdminListen, Socket: DefaultAdminSocket},
		Explain:          explainKeys{Listen: DefaultExplainListen},
		Records:          recordsKeys{Keep: 14 * 24 * time.Hour, Max: 1_000_000},
		Log:              logKeys{Level: "info", Format: "text", Syslog: "mail"},
		Checks:           newCheckSettings(registry),
	}
}
