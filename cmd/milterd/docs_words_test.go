package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"milterd/checks/all"
	"milterd/cmd/milterd/doc"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/mirror"
)

// TestNamesInDocuments tests that everything that a document names in code style exists: flags, commands, keys, reasons, checks,
// metrics, files, fields of the log, names of Go. Targets of links exist too.
func TestNamesInDocuments(t *testing.T) {
	t.Parallel()
	k := newKnown(t)
	for _, path := range documents(t) {
		for _, b := range doc.Parse(readFile(t, path)) {
			if b.Kind == doc.Code {
				continue
			}
			texts := []string{b.Text}
			for _, row := range b.Rows {
				texts = append(texts, row...)
			}
			for _, text := range texts {
				for _, s := range doc.Spans(text) {
					where := fmt.Sprintf("%s:%d", path, b.Line)
					if s.Link != "" && !strings.Contains(s.Link, "://") {
						if _, err := os.Stat(filepath.Join(filepath.Dir(path), s.Link)); err != nil {
							t.Errorf("%s: %v", where, err)
						}
					}
					if s.Style == doc.Literal && s.Link == "" && !k.knows(t, s.Text) {
						t.Errorf("%s: %q names nothing in the program; correct it, or add it to otherWords", where, s.Text)
					}
				}
			}
		}
	}
}

// known is what documents may name.
type known struct {
	root  *cobra.Command
	words map[string]bool // reasons, checks, keys, actions, metrics, fields, flags, variables of the mail servers
	code  string          // Go source of the packages that a check uses
}

func newKnown(t *testing.T) *known {
	t.Helper()
	k := &known{root: newRoot(defaultConfigFile), words: map[string]bool{}}
	for _, word := range strings.Fields(otherWords) {
		k.words[word] = true
	}
	for check, r := range all.Reasons() {
		k.words[check], k.words[r.ID] = true, true
	}
	for _, info := range all.Checks {
		k.words[info.Name] = true
	}
	for _, f := range mirror.Findings() {
		k.words[f.ID] = true
	}
	k.addKeys(t)
	k.addFlags(k.root)
	for _, m := range regexp.MustCompile("`(milterd_\\w+)`").FindAllStringSubmatch(readFile(t, "doc/log.md"), -1) {
		k.words[m[1]] = true // TestDocuments compares the table of metrics
	}
	for _, m := range regexp.MustCompile(`(?m) (\w+)=`).FindAllStringSubmatch(readFile(t, "doc/log.md"), -1) {
		k.words[m[1]] = true // likewise the lines of the log
	}
	for _, m := range regexp.MustCompile(`(?m)^(\w+) = `).FindAllStringSubmatch(readFile(t, root+"/examples/postfix-main.cf"), -1) {
		k.words[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v`).FindAllStringSubmatch(readFile(t, root+"/go.mod"), -1) {
		k.words[m[1]] = true
	}
	for _, pattern := range []string{"checks/*.go", "checks/checktest/*.go", "cmd/milterd/*.go", "cmd/milterd/doc/check.md"} {
		paths, err := filepath.Glob(root + "/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			k.code += readFile(t, path)
		}
	}
	return k
}

// addKeys adds the keys of the configuration: their paths, and their names alone.
func (k *known) addKeys(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	printed(t, "doc", "man", dir)
	page := readFile(t, filepath.Join(dir, "milterd.yaml.5"))
	for _, m := range regexp.MustCompile(`(?m)^(?:\\fB|\.SS "?)([a-z_.\[\]]+)`).FindAllStringSubmatch(page, -1) {
		k.words[m[1]] = true
		k.words[m[1][strings.LastIndexByte(m[1], '.')+1:]] = true
	}
}

// addFlags adds the flags of a command and of those below it.
func (k *known) addFlags(c *cobra.Command) {
	c.InitDefaultHelpFlag()
	for _, m := range regexp.MustCompile(`--[\w-]+`).FindAllString(c.LocalFlags().FlagUsages()+" --version", -1) {
		k.words[m] = true
	}
	for _, below := range c.Commands() {
		k.addFlags(below)
	}
}

var (
	exampleName = regexp.MustCompile(`(^|[.@/])example(\.(com|net|org)|\b)|192\.0\.2\.|127\.0\.0\.|^@|bob`)
	smtpText    = regexp.MustCompile(`^([2-5]\d\d|[CS]:|client |time |AUTH|STARTTLS|DATA|HELP|-- |# |\{)`)
	packageName = regexp.MustCompile(`^(v0\.1\.0|milterd[-_]0\.1\.0[-_.\w]+\.(deb|rpm|tar\.gz|oci\.tar|cdx\.json)|SHA256SUMS|dist)$`)
	goName      = regexp.MustCompile(`^(\w+\.)*([A-Z]\w*)$`)
)

// knows reports whether something exists, or is an example.
func (k *known) knows(t *testing.T, text string) bool {
	t.Helper()
	words := strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == ',' })
	switch {
	case len(words) > 1 && !slices.ContainsFunc(words, func(word string) bool { return !k.words[word] }):
		return true
	case slices.Contains(otherTexts, text), k.words[text], exampleName.MatchString(text), packageName.MatchString(text), smtpText.MatchString(text):
		return true
	case words[0] == "milterd" || words[0] == "bin/milterd":
		return len(words) == 1 || k.knowsCommand(t, words[1:])
	case words[0] == "make" || words[0] == "systemctl" || words[0] == "go":
		lookAtCommand(t, text, words)
		return true
	case strings.Contains(text, ": "):
		return isConfig(text)
	case goName.MatchString(text):
		return k.knowsGo(text)
	}
	for _, path := range []string{root + "/" + text, "doc/" + text, root + "/checks/" + text} {
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	return strings.HasPrefix(text, "checks/nameserver/") || slices.Contains(runtimePaths, text)
}

// runtimePaths are files and addresses on the host where milterd runs.
var runtimePaths = []string{
	"/etc/milterd/milterd.yaml", "/etc/resolv.conf", "/var/lib/milterd", "/run/milterd/admin.sock", "explain.key", "main.cf", "master.cf",
	"sendmail.mc", "sendmail.cf", "/etc/milterd", "/healthz", "/readyz", "/tmp", "FILE.session",
	"/run/milterd", "milter.sock", "ca-certificates",
}

// knowsCommand reports whether a command line is right up to its placeholders.
func (k *known) knowsCommand(t *testing.T, words []string) bool {
	t.Helper()
	c, rest, err := k.root.Find(words)
	if err != nil || c == k.root && words[0] != "--version" {
		return false
	}
	for _, word := range rest {
		if name, isFlag := strings.CutPrefix(word, "--"); isFlag && c.Flags().Lookup(name) == nil && c.InheritedFlags().Lookup(name) == nil && name != "version" {
			return false
		}
	}
	return true
}

// knowsGo reports whether each part of a name is in the Go code, or in the example of the guide.
func (k *known) knowsGo(name string) bool {
	for part := range strings.SplitSeq(name, ".") {
		if !regexp.MustCompile(`\b` + part + `\b`).MatchString(k.code) {
			return false
		}
	}
	return true
}

// isConfig reports whether a text is a configuration, or the end of one: settings of a check, or keys of a section.
func isConfig(text string) bool {
	for _, lead := range []string{"", "store: {", "admin: {", "explain: {", "checks: {greylist: {", "log: {", "policies: [{"} {
		end := strings.NewReplacer("{", "}", "[", "]").Replace(reversed(regexp.MustCompile(`[^{\[]`).ReplaceAllString(lead, "")))
		if _, problems := config.Parse("text", []byte(lead+text+end), all.Checks); problems.Err() == nil {
			return true
		}
	}
	return false
}

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// otherWords are names of other programs and protocols, and parts of names that have no list in the code.
const otherWords = `
off watch tag greylist quarantine tempfail reject safe strict accept watched waived tagged quarantined X-Milterd ! hfID dfID
msg=accept msg=greylist milter-reject milterd-report.timer milterd.socket /usr/share/doc/milterd/examples <>
ExecStart= ListenStream= SocketMode=0660 SocketGroup=postfix SupplementaryGroups=postfix [Socket] [Service] unix:milterd.sock /var/spool/postfix/milterd.sock

smtpd_delay_reject non_smtpd_milters smtpd_upstream_proxy_protocol smtpd_authorized_xclient_hosts milter_connect_timeout warn_if_reject always_add_missing_headers local_header_rewrite_clients
yes ORIGINATING F=T F= R: C: DAEMON_OPTIONS inet:HOST:PORT inet:PORT@HOST

SIGHUP SIGTERM SIGINT STATE_DIRECTORY XDG_STATE_HOME LISTEN_FDS NOTIFY_SOCKET WATCHDOG_USEC $TMPDIR
Type=notify WatchdogSec= LimitNOFILE=65536 SOAK=2h MILTERD_TEST_REAL=1 basic_auth http://localhost:8893/

mail postmaster abuse user@ .domain until= why= rediss: exp= mx r= [] 0 1 2 3 1h30m 50M -c WHAT

checks/NAME internal doc e2e yaml example one checks.nameserver
`

// otherTexts are texts with spaces, likewise.
var otherTexts = []string{
	"Accept: application/json", ".json", "POST", "smtpd_milters =", "journalctl -t milterd", `if exists "X-Milterd" { fileinto "Junk"; }`,
	"X-Milterd: date-missing; the message has no Date field", "postqueue -p", "postcat -q ID", "postsuper -H ID", "postqueue -i ID", "postsuper -d ID",
	"podman load", "docker load", "skopeo copy", "mailq -qQ", "sendmail -qQ -qIID -Q", "sendmail -q",
	"S=unix:/run/milterd/milter.sock", "MSP-v4", "location /milterd/ { proxy_pass http://localhost:8893/; }",
	"ACL SETUSER milterd on >PASSWORD ~milterd* +@read +@write +@scripting +@connection +dbsize +info",
	"v=spf1 -all", "Host: localhost", "postfix reload", "Validate() error", "!SERVFAIL name", "!TIMEOUT name",
	"none", "t=y", "p=reject", "p=none", "p=quarantine", "rua=", "pass", "v=DMARC1; p=none; rua=mailto:dmarc@example.org", "List-Id", "List-Post", "List-Unsubscribe",
	"Auto-Submitted: auto-replied",
	"greylist: keep the triplet for the retry window",
}
