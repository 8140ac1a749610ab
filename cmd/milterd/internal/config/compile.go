package config

import (
	"errors"
	"fmt"
	"log/syslog"
	"net"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// compiler turns what the file says into what the program uses, and reports what makes no sense.
type compiler struct {
	*decoder
	file     *file
	registry []checks.Info
	dir      string   // of the configuration file
	read     readFile // reads files that it names
}

// config resolves everything. What is broken is reported and left out.
func (c *compiler) config() *Config {
	f := c.file
	cfg := &Config{
		Listen:         c.listeners(),
		Hostname:       c.hostname(),
		LocalDomains:   c.localDomains(),
		Profile:        c.profile(f.Profile, "profile"),
		MaxConnections: f.MaxConnections,
		DNS:            c.dns(),
		Store:          c.store(),
		Explain:        c.explain(),
		Admin:          c.admin(),
		Records:        c.records(),
		Log:            c.log(),
		checks:         f.Checks.list,
	}
	c.settingsFiles()
	general := c.actions(profileActions(cfg.Profile, c.registry), f.Actions, "actions")
	cfg.Policy = checks.Options{
		Actions:  general,
		Policies: c.policies(general),
		Exempt:   c.recipients(f.ExemptRecipients, "exempt_recipients"),
		Trusted:  c.trusted(),
		ReplyAt:  map[string]checks.Stage{"rcpt": checks.RcptTo, "mail": checks.MailFrom}[f.ReplyAt],
		OnError:  map[string]checks.Action{"accept": checks.Off, "tempfail": checks.Tempfail}[f.OnError],
		Budget:   f.Budget,
		Escalate: f.Escalate,
		TraceFields: checks.TraceFields{
			AuthenticationResults: f.TraceFields.AuthenticationResults, ReceivedSPF: f.TraceFields.ReceivedSPF,
			AuthServID: c.name("trace_fields.id", f.TraceFields.ID),
		},
	}
	if f.MaxConnections < 1 {
		c.fail(c.where("max_connections"), "max_connections", "want at least 1, got %d", f.MaxConnections)
	}
	c.budget()
	c.replyAt()
	return cfg
}

func (c *compiler) hostname() string {
	name := c.name("hostname", c.file.Hostname)
	if name != "" && !strings.Contains(name, ".") {
		c.warn(c.where("hostname"), "hostname", "%s is no fully qualified name", quote(c.file.Hostname))
	}
	return name
}

// name reads a domain name, which may be missing.
func (c *compiler) name(key, value string) string {
	if value == "" {
		return ""
	}
	name, err := domainName(value)
	if err != nil {
		c.fail(c.where(key), key, "%s, got %s", err, quote(value))
	}
	return name
}

func (c *compiler) localDomains() []string {
	var out []string
	seen := map[string]bool{}
	for i, d := range c.file.LocalDomains {
		at := c.item("local_domains", i)
		if c.broken[at] {
			continue
		}
		name, err := domainName(d)
		if err != nil {
			c.fail(c.where(at), at, "%s, got %s", err, quote(d))
			continue
		}
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// The widest networks that are trusted without a warning, in bits: those of private use, RFC 1918 and RFC 4193.
const widest4, widest6 = 8, 7

func (c *compiler) trusted() checks.Trusted {
	t := c.file.Trusted
	for i, p := range t.Networks {
		if !p.IsValid() {
			continue // the decoder has said why
		}
		at := c.item("trusted.networks", i)
		switch {
		case p.Bits() == 0:
			c.warn(c.where(at), at, "%s trusts every client with such an address: no mail of theirs is checked", p)
		case p.Addr().Is4() && p.Bits() < widest4, p.Addr().Is6() && p.Bits() < widest6:
			c.warn(c.where(at), at, "%s is very wide, and no mail from there is checked", p)
		}
	}
	return checks.Trusted{Networks: t.Networks, Authenticated: t.Authenticated, Daemons: t.Daemons}
}

func (c *compiler) dns() DNS {
	f := c.file.DNS
	d := DNS{Timeout: f.Timeout}
	if f.Timeout == 0 {
		c.fail(c.where("dns.timeout"), "dns.timeout", "want more than 0")
	}
	for i, s := range f.Servers {
		at := c.item("dns.servers", i)
		if c.broken[at] {
			continue
		}
		server, err := nameServer(s)
		if err != nil {
			c.fail(c.where(at), at, "%s", err)
			continue
		}
		d.Servers = append(d.Servers, server)
	}
	return d
}

// nameServer completes a name server to address:port.
func nameServer(s string) (string, error) {
	const domain = "53" // the port of RFC 1035 section 4.2
	if addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return net.JoinHostPort(addr.String(), domain), nil
	}
	host, port := s, domain
	if strings.Contains(s, ":") {
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", fmt.Errorf("%s is no name server: want an address or address:port", quote(s))
		}
	}
	// A name would need a name server to be found.
	if _, err := netip.ParseAddr(host); err != nil {
		return "", fmt.Errorf("%s is no name server: want an address or address:port", quote(s))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%s is no port: want a number from 1 to 65535", quote(port))
	}
	return net.JoinHostPort(host, port), nil
}

func (c *compiler) store() Store {
	f := c.file.Store
	switch {
	case f.Driver == "redis" && f.URL == "":
		c.fail(c.where("store"), "store", "the driver redis wants a url")
	case f.Driver != "redis" && f.URL != "":
		c.fail(c.where("store.url"), "store.url", "is for the driver redis, not for %s", f.Driver)
	case f.Driver != "embedded" && f.Path != "":
		c.fail(c.where("store.path"), "store.path", "is for the driver embedded, not for %s", f.Driver)
	case f.Path != "" && !filepath.IsAbs(f.Path):
		c.fail(c.where("store.path"), "store.path", "want an absolute path, got %s", quote(f.Path))
	}
	if f.URL != "" {
		if u, err := url.Parse(f.URL); err != nil || u.Host == "" && u.Path == "" {
			c.fail(c.where("store.url"), "store.url", "want redis://host:port or rediss://host:port, got %s", quote(f.URL))
		}
	}
	return Store(f)
}

// longestURL leaves room for the rest of a link in one line of a reply.
const longestURL = 128

func (c *compiler) explain() Explain {
	e := Explain(c.file.Explain)
	e.URL = strings.TrimRight(e.URL, "/")
	if e.Listen != "" {
		if _, port, err := net.SplitHostPort(e.Listen); err != nil || port == "" {
			c.fail(c.where("explain.listen"), "explain.listen", "want host:port, got %s", quote(e.Listen))
		}
	}
	if e.Key != "" && !filepath.IsAbs(e.Key) {
		c.fail(c.where("explain.key"), "explain.key", "want an absolute path, got %s", quote(e.Key))
	}
	if e.URL == "" {
		return e
	}
	u, err := url.Parse(e.URL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil ||
		strings.ContainsFunc(e.URL, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`?#<>"`, r) }):
		c.fail(c.where("explain.url"), "explain.url", "want a URL such as https://mx.example.org, got %s", quote(c.file.Explain.URL))
	case len(e.URL) > longestURL:
		c.fail(c.where("explain.url"), "explain.url", "%d octets leave no room for the rest of a link in a reply; want %d at most", len(e.URL), longestURL)
	case path.Base(u.Path) == "why":
		c.warn(c.where("explain.url"), "explain.url", "links go on with /why/ and the reason by themselves")
	}
	return e
}

func (c *compiler) records() Records {
	r := Records(c.file.Records)
	if r.Keep == 0 {
		c.fail(c.where("records.keep"), "records.keep", "want more than 0")
	}
	if r.Max < 0 {
		c.fail(c.where("records.max"), "records.max", "want 0 or more, got %d", r.Max)
	}
	return r
}

func (c *compiler) admin() Admin {
	f := c.file.Admin
	a := Admin{Listen: f.Listen, Socket: strings.TrimPrefix(f.Socket, "unix:"), Password: string(f.Password)}
	if a.Socket != "" && !filepath.IsAbs(a.Socket) {
		c.fail(c.where("admin.socket"), "admin.socket", "want an absolute path, got %s", quote(f.Socket))
	}
	if a.Listen == "" {
		return a
	}
	host, port, err := net.SplitHostPort(a.Listen)
	switch {
	case err != nil || port == "":
		c.fail(c.where("admin.listen"), "admin.listen", "want host:port, got %s", quote(a.Listen))
	case a.Password == "" && !loopback(host):
		c.fail(c.where("admin.listen"), "admin.listen", "%s can be reached from elsewhere: want admin.password too, or a loopback address such as %s, behind a proxy if need be",
			quote(a.Listen), DefaultAdminListen)
	}
	return a
}

// loopback tells whether only this machine reaches a host. Other names than localhost may mean anything.
func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

func (c *compiler) log() Log {
	f := c.file.Log
	level, err := logrus.ParseLevel(f.Level)
	if err != nil {
		level = logrus.InfoLevel // the decoder has said why
	}
	l := Log{Level: level, JSON: f.Format == "json", Syslog: !f.Syslog.isOff()}
	if l.Syslog {
		if l.Facility, err = facility(string(f.Syslog)); err != nil {
			c.fail(c.where("log.syslog"), "log.syslog", "%s", err)
		}
	}
	return l
}

// facilities of syslog that can be chosen, in the order of their numbers (RFC 5424 section 6.2.1) from 0.
var facilities = [...]string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "", "", "", "",
	"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

func facility(name string) (syslog.Priority, error) {
	const bits = 3 // of the severity below the facility
	if i := slices.Index(facilities[:], name); i >= 0 && name != "" {
		return syslog.Priority(i << bits), nil
	}
	valid := slices.DeleteFunc(slices.Clone(facilities[:]), func(f string) bool { return f == "" })
	hint := didYouMean(name, append(valid, "off"))
	if hint == "" {
		hint = "; want one such as mail, daemon or local0, or off"
	}
	return 0, errors.New("unknown syslog facility " + quote(name) + hint)
}

// sendmailPatience is how long Sendmail waits for an answer if nobody tells it otherwise, less what the way takes.
const sendmailPatience = 9 * time.Second

func (c *compiler) budget() {
	b := c.file.Budget
	at := c.where("budget")
	switch {
	case b == 0:
		c.fail(at, "budget", "want more than 0")
	case b > sendmailPatience:
		c.warn(at, "budget", "%s is more than 9s, and Sendmail gives up after 10 s unless its T= says otherwise", FormatDuration(b))
	}
	if timeout := c.file.DNS.Timeout; b > 0 && timeout >= b && (c.given("budget") || c.given("dns.timeout")) {
		if c.given("dns.timeout") {
			at = c.where("dns.timeout")
		}
		c.warn(at, "dns.timeout", "%s is not below the budget of %s: one name server that is down uses it up", FormatDuration(timeout), FormatDuration(b))
	}
}

// replyAt warns of what cannot work when the recipient is not known yet.
func (c *compiler) replyAt() {
	if c.file.ReplyAt != "mail" {
		return
	}
	var lost []string
	if len(c.file.ExemptRecipients) > 0 {
		lost = append(lost, "exempt_recipients")
	}
	if len(c.file.Policies) > 0 {
		lost = append(lost, "policies")
	}
	if len(lost) > 0 {
		c.warn(c.where("reply_at"), "reply_at", "mail answers before the recipient is known: %s cannot change what client, HELO and sender reasons do",
			strings.Join(lost, " and "))
	}
}
