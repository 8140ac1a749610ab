package config

import (
	"net/netip"
	"reflect"
	"time"

	"go.yaml.in/yaml/v4"

	"milterd/checks"
)

// file is the configuration file as written. Its tags make the reference: yaml is the key, doc describes it in one or two
// sentences, example is a value other than the default, one lists the permitted values.
type file struct {
	Listen           []listenEntry `yaml:"listen" doc:"Socket on which the MTA reaches milterd, or a list of them: inet:PORT@HOST, inet6:PORT@HOST or unix:/path (alias local:). The milter protocol has no password: let nobody but the mail server reach an address other than loopback. A unix socket that another user opens needs the keys of the example." example:"{socket: unix:/run/milterd/milter.sock, mode: \"0660\", group: postfix}"`
	Hostname         string        `yaml:"hostname" doc:"Name with which the MTA greets, for replies; empty: the fully qualified name of the machine." example:"mx.example.org"`
	LocalDomains     []string      `yaml:"local_domains" doc:"Domains for which this site receives mail." example:"[example.org, example.net]"`
	Profile          string        `yaml:"profile" doc:"Defaults of the actions: watch (log only), safe (refuse what wanted mail almost never has) or strict."`
	Actions          reasonActions `yaml:"actions" doc:"Action by reason id: off, watch (log it and let the mail pass), tag (add a header field X-Milterd), greylist, quarantine (the MTA sets the mail aside), tempfail (4yz) or reject (5yz). false means off. Uncomment a line to change it; it shows the default of safe."`
	Trusted          trusted       `yaml:"trusted" doc:"Clients that are never checked, counted or blocked."`
	ExemptRecipients []string      `yaml:"exempt_recipients" doc:"Recipients that receive all mail: a local part at any domain, user@domain, @domain, or file:/path with one of these per line."`
	Policies         []policy      `yaml:"policies" doc:"Other actions for some recipients. The first policy that matches a recipient applies."`
	ReplyAt          string        `yaml:"reply_at" one:"rcpt mail" doc:"Command to which reasons about client, HELO and sender reply. rcpt: exempt recipients and policies work, and the log has sender and recipient. mail: the reply comes at MAIL."`
	OnError          string        `yaml:"on_error" one:"accept tempfail" doc:"What happens to mail when a check fails: accept or tempfail."`
	Budget           time.Duration `yaml:"budget" doc:"Time for all checks of one SMTP command together. Sendmail waits 10 s."`
	Escalate         time.Duration `yaml:"escalate" doc:"For how long reasons of rdns, helo, sender and spf reply 4yz instead of 5yz to a client, so that its queue keeps the mail until the fault is repaired. 0: 5yz at once." example:"24h"`
	MaxConnections   int           `yaml:"max_connections" doc:"Maximum number of connections from MTAs. Further ones are answered with 4yz, and above an eighth more they are closed."`
	Memory           byteSize      `yaml:"memory" doc:"Memory that all sessions (recipients, header sections, macros, DNS answers) and waiting records may hold together, with K, M or G. Beyond it new messages get 452 4.3.1; messages in flight go on. 0: no limit."`
	DNS              DNS           `yaml:"dns" doc:"DNS queries."`
	Store            Store         `yaml:"store" doc:"Where the records of clients and senders are stored."`
	Explain          Explain       `yaml:"explain" doc:"Public pages that explain a refusal to its sender."`
	Admin            adminKeys     `yaml:"admin" doc:"How commands, browsers and monitoring reach the daemon."`
	TraceFields      traceKeys     `yaml:"trace_fields" doc:"Fields that are added to the header of accepted messages."`
	Tag              tagKeys       `yaml:"tag" doc:"How tagged and quarantined messages are marked, besides the field X-Milterd."`
	Records          Records       `yaml:"records" doc:"Decision records, which the command log and the public pages show."`
	Mirror           Mirror        `yaml:"mirror" doc:"Judges mail of trusted clients to other sites as Gmail, Yahoo and Outlook would, for milterd report mirror. It refuses and delays nothing. mirror: off switches it off."`
	Log              logKeys       `yaml:"log" doc:"Log level, format and destination."`
	Checks           checkSettings `yaml:"checks" doc:"Settings of the checks, by the name of the check."`
}

type trusted struct {
	Networks      []netip.Prefix `yaml:"networks" doc:"Networks in CIDR form, or single addresses."`
	Authenticated bool           `yaml:"authenticated" doc:"Whether an authenticated client is trusted."`
	Daemons       []string       `yaml:"daemons" doc:"Values of the macro {daemon_name} whose mail is trusted: the name for submission is ORIGINATING in Postfix and MSA in Sendmail."`
}

type policy struct {
	Recipients []string        `yaml:"recipients" doc:"Recipients of the policy: local parts at any domain, user@domain, @domain, or file:/path with one of these per line. A relative path begins at the folder of this file." example:"[bob@example.org, \"file:strict-recipients\"]"`
	Forwarders []string        `yaml:"forwarders" doc:"Hosts from which these recipients forward mail to here, as addresses, networks or confirmed names (including names below them). Their mail has no SPF, MX+ and DNS list checks, and does not count against the host (counters, sender-own-domain)." example:"[198.51.100.0/24, lists.example.net]"`
	Profile    string          `yaml:"profile" doc:"Defaults of the actions of this policy; without it they are the general actions." example:"strict"`
	Actions    map[string]word `yaml:"actions" doc:"Actions that differ from these defaults." example:"{helo-mismatch: reject}"`
}

// DNS configures the resolver. In a Config, the servers have the form address:port.
type DNS struct {
	Servers []string      `yaml:"servers" doc:"Name servers as address or address:port; empty: those of resolv.conf." example:"[127.0.0.1, \"192.0.2.53:5353\"]"`
	Timeout time.Duration `yaml:"timeout" doc:"Time that one server has to answer one question."`
}

// Store configures where records are stored.
type Store struct {
	Driver string `yaml:"driver" one:"memory embedded redis" doc:"memory (lost at a restart), embedded (files on this machine) or redis (shared by several hosts)."`
	Path   string `yaml:"path" doc:"Folder of the embedded store; empty: the first of $STATE_DIRECTORY, /var/lib/milterd and the state folder of the user that can be written." example:"/var/lib/milterd"`
	URL    string `yaml:"url" doc:"Redis or Valkey server of the driver redis: redis://[user:password@]host:port/db, or rediss:// for TLS."`
}

type adminKeys struct {
	Listen   string `yaml:"listen" doc:"Address and port of the operator's pages, /metrics, /healthz and /readyz; empty: none. An address other than loopback needs a password. If the file has this key and the address cannot be opened, milterd does not start; without the key, it warns."`
	Socket   string `yaml:"socket" doc:"Unix socket for commands such as status, greylist, block, log and report; its owner and group may use it. Empty: none. If the file has this key and the socket cannot be opened, milterd does not start; without the key, it warns."`
	Password word   `yaml:"password" doc:"Password for the pages and /metrics, with any user name; empty: none." example:"correct-horse-battery-staple"`
}

type traceKeys struct {
	AuthenticationResults bool   `yaml:"authentication_results" doc:"Add Authentication-Results with spf, iprev, dkim and dmarc (RFC 8601), and remove such fields that others added in our name."`
	ID                    string `yaml:"id" doc:"The authserv-id, which marks a field as ours; empty: the hostname. A filter that runs before this one needs another one."`
	ReceivedSPF           bool   `yaml:"received_spf" doc:"Add Received-SPF (RFC 7208 section 9.1)."`
}

type tagKeys struct {
	Subject string `yaml:"subject" doc:"Prefix of the subject. It breaks signatures that cover the subject. Empty: the subject stays." example:"\"[suspicious] \""`
}

// Explain configures the public pages, which explain refusals to senders, see Config.Given. In a Config, the URL has no slash at its
// end.
type Explain struct {
	Listen string `yaml:"listen" doc:"Address and port of the pages, for a web server with TLS in front of them; empty: none. If the file has this key and the address cannot be opened, milterd does not start; without the key, it warns."`
	URL    string `yaml:"url" doc:"URL of the pages as seen from outside, without /why/ at its end, for the links in replies; empty: no links." example:"https://mx.example.org"`
	Key    string `yaml:"key" doc:"File with the key that signs links. It is made at the first start and must be the same on all hosts of one url; empty: explain.key in the state folder." example:"/var/lib/milterd/explain.key"`
}

// Records configures how many decision records are kept.
type Records struct {
	Keep time.Duration `yaml:"keep" doc:"How long records are kept and links are valid."`
	Max  int           `yaml:"max" doc:"Maximum number of records, after which the oldest are deleted; 0: none are kept."`
}

// Mirror configures what is said about outgoing mail.
type Mirror struct {
	On        bool
	Bulk      int          `yaml:"bulk" doc:"Recipients at other sites that a message may have before it counts as bulk mail, which needs one-click unsubscribe."`
	Addresses []netip.Addr `yaml:"addresses" doc:"Addresses from which the mail server sends to other sites; empty: the public ones of this machine, or behind NAT those of its name." example:"[198.51.100.7, \"2001:db8::7\"]"`
}

// readNode implements nodeReader.
func (m *Mirror) readNode(d *decoder, n *yaml.Node, path string) {
	if on, ok := truth(n); ok {
		m.On = on
		return
	}
	d.structure(n, reflect.ValueOf(m).Elem(), path)
}

type logKeys struct {
	Level  string `yaml:"level" one:"error warn info debug" doc:"Lowest level that is logged: error, warn, info or debug."`
	Format string `yaml:"format" one:"text json" doc:"Format of the lines: text or json."`
	Syslog word   `yaml:"syslog" doc:"Syslog facility such as mail or local3, or off. Without syslog the log goes to standard error."`
}

// listenEntry is one socket to listen on: a text, or a section with the permissions of a unix socket.
type listenEntry struct {
	Socket string   `yaml:"socket" doc:"Path as unix:/path."`
	Mode   fileMode `yaml:"mode" doc:"Permissions of the socket in octal."`
	Group  string   `yaml:"group" doc:"Group of the socket."`
}

// reasonActions has actions by reason id.
type reasonActions map[string]word

// word is a text that needs no quotes whatever type YAML gives it: off is a truth value in YAML 1.1.
type word string

// UnmarshalText implements encoding.TextUnmarshaler.
func (w *word) UnmarshalText(text []byte) error {
	*w = word(text)
	return nil
}

// isOff reports whether w is off, or false in YAML 1.1 or 1.2.
func (w word) isOff() bool {
	switch w {
	case "off", "Off", "OFF", "false", "False", "FALSE", "no", "No", "NO":
		return true
	}
	return false
}

// The default addresses of the daemon, besides the socket for the MTA.
const (
	DefaultAdminSocket   = "/run/milterd/admin.sock"
	DefaultAdminListen   = "127.0.0.1:8893"
	DefaultExplainListen = "127.0.0.1:8892"
)

// defaults returns the configuration of an empty file.
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
		Memory:           512 << 20,
		DNS:              DNS{Timeout: 2 * time.Second},
		Store:            Store{Driver: "embedded"},
		Admin:            adminKeys{Listen: DefaultAdminListen, Socket: DefaultAdminSocket},
		Explain:          Explain{Listen: DefaultExplainListen},
		Records:          Records{Keep: 14 * 24 * time.Hour, Max: 1_000_000},
		Mirror:           Mirror{On: true, Bulk: 100},
		Log:              logKeys{Level: "info", Format: "text", Syslog: "mail"},
		Checks:           newCheckSettings(registry),
	}
}
