package config

import (
	"errors"
	"fmt"
	"iter"
	"log/syslog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/milter/store"
)

// compiler makes a Config of the decoded file, and reports values that cannot be used.
type compiler struct {
	*decoder
	file *file
	dir  string   // of the configuration file
	read readFile // for files that the configuration names

	recipientFiles []string // that were read
}

// config returns the configuration. Values with faults are reported and left out.
func (c *compiler) config() *Config {
	f := c.file
	cfg := &Config{
		Hostname:       c.hostname(),
		LocalDomains:   c.localDomains(),
		Profile:        c.profile(f.Profile, "profile"),
		MaxConnections: f.MaxConnections,
		Memory:         int64(f.Memory),
		DNS:            c.dns(),
		Store:          c.store(),
		Explain:        c.explain(),
		Admin:          c.admin(),
		Records:        c.records(),
		Mirror:         c.mirror(),
		Log:            c.log(),
		settings:       f.Checks,
		decoder:        c.decoder,
	}
	cfg.Listen, cfg.places = c.listeners()
	c.settingsFiles()
	general := c.actions(profileActions(cfg.Profile, c.registry), f.Actions, "actions")
	cfg.Policy = checks.Options{
		Actions:  general.byReason,
		Named:    general.named,
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
	cfg.Policy.SubjectPrefix, cfg.RecipientFiles = c.subjectPrefix(), c.recipientFiles
	if f.MaxConnections < 1 {
		c.failAt("max_connections", "%d is too few; write 1 or more", f.MaxConnections)
	}
	if f.Memory > 0 && f.Memory < fewestBytes {
		c.warnAt("memory", "%d bytes are too few for the mail of a site, and new messages are deferred; write it with a unit, such as 512M", f.Memory)
	}
	c.samePorts(cfg)
	c.unusedSettings(cfg.Policy)
	c.budget()
	c.replyAt()
	return cfg
}

// items yields the entries of the list at path that the decoder did not reject, each with its path.
func items[T any](c *compiler, path string, list []T) iter.Seq2[string, T] {
	return func(yield func(string, T) bool) {
		for i, entry := range list {
			at := fmt.Sprintf("%s[%d]", path, i)
			if !c.given(at) {
				at = path // a single value stands for the list
			}
			if !c.rejected[at] && !yield(at, entry) {
				return
			}
		}
	}
}

// The prefix lengths of the widest networks that are trusted without a warning: 10.0.0.0/8 (RFC 1918) and fc00::/7 (RFC
// 4193).
const minBits4, minBits6 = 8, 7

func (c *compiler) trusted() checks.Trusted {
	t := c.file.Trusted
	for at, p := range items(c, "trusted.networks", t.Networks) {
		switch {
		case p.Bits() == 0:
			c.warnAt(at, "%s trusts every client with such an address, and no mail from it is checked; trust your own networks alone", p)
		case p.Addr().Is4() && p.Bits() < minBits4, p.Addr().Is6() && p.Bits() < minBits6:
			c.warnAt(at, "%s is very wide, and no mail from it is checked; trust your own networks alone", p)
		}
	}
	for at, name := range items(c, "trusted.daemons", t.Daemons) {
		if name == "" { // the value of the macro if the MTA does not send it
			c.failAt(at, `"" trusts every client if the MTA does not send the macro; write a name such as ORIGINATING, or [] for none`)
		}
	}
	return checks.Trusted(t)
}

func (c *compiler) dns() DNS {
	f := c.file.DNS
	d := DNS{Timeout: f.Timeout}
	if f.Timeout == 0 {
		c.failAt("dns.timeout", "0 is too short; write a time such as 2s")
	}
	for at, s := range items(c, "dns.servers", f.Servers) {
		server, err := nameServer(s)
		if err != nil {
			c.failAt(at, "%s", err)
			continue
		}
		d.Servers = append(d.Servers, server)
	}
	return d
}

// nameServer returns a name server in the form address:port.
func nameServer(s string) (string, error) {
	host, port := withoutBrackets(s), "53" // RFC 1035 section 4.2
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	}
	if _, err := netip.ParseAddr(host); err != nil { // no name: it could not be looked up without a name server
		return "", fmt.Errorf("%s is not a name server; write it as 192.0.2.53 or 192.0.2.53:5353", quote(s))
	}
	if !isPort(port, 1) {
		return "", fmt.Errorf(notPort, quote(port))
	}
	return net.JoinHostPort(host, port), nil
}

func (c *compiler) store() Store {
	f := c.file.Store
	switch {
	case c.rejectedIn("store"):
	case f.Driver == "redis" && f.URL == "":
		c.failAt("store", `the driver "redis" needs a url; add url: redis://host:port`)
	case f.Driver != "redis" && f.URL != "":
		c.failAt("store.url", "the driver %s has no url; delete it, or write driver: redis", quote(f.Driver))
	case f.Driver != "embedded" && f.Path != "":
		c.failAt("store.path", "the driver %s has no path; delete it, or write driver: embedded", quote(f.Driver))
	}
	if f.Driver == "embedded" {
		c.path("store.path", f.Path, true)
	}
	if f.URL != "" {
		if u, err := url.Parse(f.URL); err != nil || u.Host == "" && u.Path == "" || store.CheckURL(f.URL) != nil {
			c.failAt("store.url", "%s is not a URL of Redis; write redis://host:port/0 or rediss://host:port/0", quote(withoutPassword(f.URL)))
		}
	}
	return f
}

// path checks a path, which may be empty, of a folder or of another file. milterd creates what does not exist.
func (c *compiler) path(key, p string, folder bool) {
	if p == "" {
		return
	}
	info, err := os.Stat(p)
	switch {
	case !filepath.IsAbs(p):
		c.failAt(key, "%s is a relative path; write an absolute one", quote(p))
	case err == nil && folder && !info.IsDir():
		c.failAt(key, "%s is a file; write the path of a folder, which milterd creates if there is none", quote(p))
	case err == nil && !folder && info.IsDir():
		c.failAt(key, "%s is a folder; add the name of the file", quote(p))
	case errors.Is(err, syscall.ENOTDIR):
		c.failAt(key, "a part of %s is a file, not a folder; correct the path", quote(p))
	case errors.Is(err, syscall.ELOOP):
		c.failAt(key, "%s leads through a symbolic link that leads to itself; correct the path or the link", quote(p))
	}
}

// withoutPassword returns a URL that may be malformed without the part before its last @.
func withoutPassword(url string) string { return url[strings.LastIndexByte(url, '@')+1:] }

// maxURL is the maximum length of explain.url in bytes, which leaves room for the rest of a link in one line of a reply.
const maxURL = 128

func (c *compiler) explain() Explain {
	e := c.file.Explain
	e.URL = strings.TrimRight(e.URL, "/")
	if _, ok := hostOf(e.Listen); e.Listen != "" && !ok {
		c.failAt("explain.listen", notHostPort, quote(e.Listen), DefaultExplainListen)
	}
	c.path("explain.key", e.Key, false)
	if e.URL == "" {
		return e
	}
	u, err := url.Parse(e.URL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Port() != "" && !isPort(u.Port(), 1) ||
		strings.ContainsFunc(e.URL, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`?#<>"`, r) }):
		c.failAt("explain.url", "%s is not a URL; write it as https://mx.example.org", quote(c.file.Explain.URL))
	case len(e.URL) > maxURL:
		c.failAt("explain.url", "%s has %d characters; use at most %d, so that links fit in a reply", quote(e.URL), len(e.URL), maxURL)
	case path.Base(u.Path) == "why":
		c.warnAt("explain.url", `links have "/why/" twice: milterd adds it to the url; delete it at the end of %s`, quote(c.file.Explain.URL))
	}
	return e
}

// maxSubjectPrefix is the length of the longest prefix, in bytes. A list of mails hides the subject behind a longer one.
const maxSubjectPrefix = 60

func (c *compiler) subjectPrefix() string {
	prefix := c.file.Tag.Subject
	switch {
	case strings.ContainsFunc(prefix, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) || strings.Contains(prefix, "=?"):
		c.failAt("tag.subject", "%s has a character that cannot be in a subject; write a word such as %s", quote(prefix), quote("[suspicious] "))
	case len(prefix) > maxSubjectPrefix:
		c.failAt("tag.subject", "%s has %d bytes; use at most %d", quote(prefix), len(prefix), maxSubjectPrefix)
	}
	return prefix
}

func (c *compiler) records() Records {
	r := c.file.Records
	if r.Keep == 0 {
		c.failAt("records.keep", "0 is too short; write a time such as 14d, or max: 0 to keep no records")
	}
	if r.Max < 0 {
		c.failAt("records.max", "%d is negative; write 0 or more", r.Max)
	}
	return r
}

func (c *compiler) mirror() Mirror {
	m := c.file.Mirror
	if m.Bulk < 1 {
		c.failAt("mirror.bulk", "%d is too few; write 1 or more, or mirror: off", m.Bulk)
	}
	return m
}

func (c *compiler) admin() Admin {
	f := c.file.Admin
	a := Admin{Listen: f.Listen, Socket: strings.TrimPrefix(f.Socket, "unix:"), Password: string(f.Password)}
	if len(a.Socket) > maxSocketPath {
		c.failAt("admin.socket", longSocket, quote(a.Socket), len(a.Socket), maxSocketPath)
	} else {
		c.path("admin.socket", a.Socket, false)
	}
	if a.Listen == "" {
		return a
	}
	host, ok := hostOf(a.Listen)
	switch {
	case !ok:
		c.failAt("admin.listen", notHostPort, quote(a.Listen), DefaultAdminListen)
	case a.Password == "" && !c.rejected["admin.password"] && !isLoopback(host):
		c.failAt("admin.listen", "%s can be reached from other hosts; set admin.password, or use a loopback address such as %s behind a proxy",
			quote(a.Listen), DefaultAdminListen)
	}
	return a
}

// hostOf returns the host of an address of a web server, and reports whether the address has a port too.
func hostOf(address string) (string, bool) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return "", false
	}
	_, err = net.LookupPort("tcp", port)
	return host, err == nil
}

// notHostPort is the error of an address of a web server.
const notHostPort = "%s is not an address and a port; write it as %s"

// isLoopback reports whether only this machine can reach a host. The only name that it knows is localhost.
func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

func (c *compiler) log() Log {
	f := c.file.Log
	level, err := logrus.ParseLevel(f.Level)
	if err != nil {
		level = logrus.InfoLevel // the decoder has reported it
	}
	l := Log{Level: level, JSON: f.Format == "json", Syslog: !f.Syslog.isOff()}
	if l.Syslog {
		if l.Facility, err = facility(string(f.Syslog)); err != nil {
			c.failAt("log.syslog", "%s", err)
		}
	}
	return l
}

// facilities are the names of the syslog facilities by number, RFC 5424 section 6.2.1. Those without a name cannot be used.
var facilities = [...]string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "", "", "", "",
	"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

func facility(name string) (syslog.Priority, error) {
	const severityBits = 3
	if i := slices.Index(facilities[:], name); i >= 0 && name != "" {
		return syslog.Priority(i << severityBits), nil
	}
	valid := slices.DeleteFunc(slices.Clone(facilities[:]), func(f string) bool { return f == "" })
	if best := Nearest(name, append(valid, "off")); best != "" {
		return 0, fmt.Errorf("unknown syslog facility %s; did you mean %s?", quote(name), quote(best))
	}
	return 0, fmt.Errorf("unknown syslog facility %s; use one such as mail, daemon or local0, or off", quote(name))
}

// The longest budgets without a warning: the default timeouts of 10 s and 30 s less a second for the way.
const (
	maxBudget        = 9 * time.Second // Sendmail
	maxBudgetPostfix = 29 * time.Second
)

func (c *compiler) budget() {
	b := c.file.Budget
	switch {
	case b == 0:
		c.failAt("budget", "0 is too short; write a time such as 8s")
	case b > maxBudgetPostfix:
		c.warnAt("budget", "%s is over 29s, and Postfix waits 30 s by default, Sendmail 10 s; raise milter_command_timeout, or R in the T= of INPUT_MAIL_FILTER, too", checks.FormatDuration(b))
	case b > maxBudget:
		c.warnAt("budget", "%s is over 9s, and Sendmail waits 10 s by default; raise R in the T= of its INPUT_MAIL_FILTER too", checks.FormatDuration(b))
	}
	if timeout := c.file.DNS.Timeout; b > 0 && timeout >= b && (c.given("budget") || c.given("dns.timeout")) {
		at := c.where("budget")
		if c.given("dns.timeout") {
			at = c.where("dns.timeout")
		}
		c.warn(at, "dns.timeout", "%s is not below the budget of %s, and one failed name server uses it up; shorten it",
			checks.FormatDuration(timeout), checks.FormatDuration(b))
	}
}

// replyAt warns of settings that have no effect because the recipient is not known yet.
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
		c.warnAt("reply_at", "with reply_at: mail, %s do not apply to reasons about client, HELO and sender; write rcpt to have them apply",
			strings.Join(lost, " and "))
	}
}
