package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"milterd/checks"
)

// limits is the source of the table in the guide "operating". {folder.name unit} is a constant of milterd, whose unit is bytes or
// time or missing; {name} is a setting.
const limits = `
# Mail servers
connections | {max_connections}, or as many as leave {cmd/milterd.spareFiles} file descriptors for the rest (half of them, if there are few) | an eighth more are answered 451 4.3.2, further ones are closed; the log says so once a minute
time between two commands | {milter.idleTimeout time} | the connection is closed, and the mail server goes on without milterd
a packet, the time to read it, the time to write its answer | {milter.maxPacket bytes}, {milter.defaultPacketTimeout time}, {milter.writeTimeout time} | the connection is closed
time of all checks for one answer | {budget} (budget) | on_error applies to checks that have no result yet
recipients of a message | {milter.maxRecipients}, of {milter.maxRcptBytes bytes} together | 452 4.5.3: the client sends to the others in another transaction; the log says so once a minute
header section | {milter.maxHeaderBytes bytes} | the part before it is checked, with a warning in the log; 451 4.6.0 at the end of the message if a From, Subject or Content-Type field is beyond it
Authentication-Results fields with the own authserv-id, X-Milterd fields | {milter.maxForged} of each are removed | 451 4.6.0 at the end of the message, with a warning in the log
macros | {milter.maxMacros} of {milter.maxMacroLength bytes} | further ones are ignored
a reply | {checks.maxLines} lines of {checks.maxLine} characters, each value of {checks.maxValue} | it is cut
time to stop | {cmd/milterd.drainTimeout time} for messages in flight, {milter.defaultDrainIdle time} for clients that are silent between two, then {milter/store.slowDisk time} for the store and {cmd/milterd.logTimeout time} for the log | sessions get the default action of the mail server; lost lines of the log are counted on standard error

# DNS
a question | {milter/resolver.defaultAttempts} attempts of {dns.timeout} (dns.timeout) | the check could not find out; the failure is cached for {milter/resolver.failureTTL time}
questions in advance | {milter/resolver.maxOutstanding} at a time, {milter/resolver.maxFollowUps} that follow from one | they are asked when a check needs them
questions over TCP | {milter/resolver.maxTCP} at a time | others wait
cached answers | {milter/resolver.maxCache bytes}, from {milter/resolver.minTTL time} to {milter/resolver.maxTTL time} each ({milter/resolver.maxNegativeTTL time} for a name that does not exist) | those that were not used for the longest time are removed
an answer | a DNS message (64 KiB), {milter/resolver.maxChain} CNAMEs | a longer chain is a failure
SPF | {checks/facts/spf.maxLookups} terms with a question, {checks/facts/spf.maxVoids} without a result, {checks/facts/spf.maxHosts} hosts of an MX (RFC 7208 section 4.6.4) | permerror
names of a client, mail hosts of a domain | {checks/facts.maxHosts} | further ones are ignored

# Store and records
an operation of the store | {milter/store.defaultTimeout time} | an error; after more than {milter/store.toleratedFailures} in a row, checks do not wait until a probe succeeds, one each {milter/store.probeEvery time}
a record of the store | a key of {checks.MaxKey bytes}, a value of {checks.MaxValue bytes} | an error
the store in memory | {milter/store.defaultBytes bytes} | those that expire soonest are removed
the embedded store | {milter/store.cacheBytes bytes} of cache, {milter/store.maxUnwritten bytes} not yet written; the disk | while the disk cannot be written, memory is used until it is full, then the store is down
triplets of greylisting that a network (/24, /64) begins | {checks/greylist.maxBegun} an hour, at each host | the mail waits, and its delay begins in another hour
records of decisions | {records.max} for {records.keep} (records), each of {milter/records.maxEncoded bytes} | the oldest are removed
records that wait for the store | {milter/records.maxQueued bytes} | they are dropped, and counted in milterd_records_dropped_total
transactions that wait for the reports | {milter/evidence.maxQueued bytes}, and {milter/evidence.maxPending} senders | they are not counted, and the reports say so
outgoing messages that the mirror judges | {milter/mirror.maxQueued bytes} waiting, {milter/mirror.judgeTimeout time} each, {milter/mirror.maxSubjects} domains and users a day | they are not judged, and the report says so
counts for DMARC reports (checks.dmarc.reports) | {checks/dmarc/report.maxTable bytes} a day, of which {checks/dmarc/report.maxOrg bytes} and {checks/dmarc/report.maxDomains} domains for one organisation | messages are not counted
DMARC reports of other sites that the daemon keeps | {cmd/milterd/internal/feedback.maxKept} for {cmd/milterd/internal/feedback.keepFor time}, each of {cmd/milterd/internal/feedback.maxValue bytes} | further ones are not kept

# Others
log lines that wait | {milter/log.maxQueued bytes}, with values of {checks.maxLogged bytes} | they are dropped, and counted in milterd_log_dropped_total and the log
callouts | {checks/callout.maxFlights} at a time, {checks/callout.maxFlight time} each, {checks/callout.maxAddrs} addresses of a host, {checks/callout.maxConnections} connections to it | could not find out; the next attempt of the sender finds more
a reply to a callout | {checks/callout.maxLines} lines of {checks/callout.maxLine bytes} | the host counts as one that cannot be asked
questions to registries (RDAP) | {checks/sender.maxAsking} at a time, {checks/sender.maxAsk time} each, answers of {milter/rdap.maxBody bytes} | the age of the domain is unknown
pages and commands | {cmd/milterd.maxReaders} connections to each listener, {cmd/milterd.pageTime time} for a page, {cmd/milterd.pageHeaders bytes} of header fields | others wait; slow ones are closed
pages for senders | {milter/web/why.pageRate.Burst}, then one each {milter/web/why.pageRate.Interval time} | 429 after {milter/web/why.delayPage time}, with the time to wait
tests on the pages for senders | {milter/web/why.recordRate.Burst} for one refusal, then one each {milter/web/why.recordRate.Interval time}; {milter/web/why.testRate.Burst} for all, then one each {milter/web/why.testRate.Interval time} | 429, with the time to wait
configuration | {cmd/milterd/internal/config.maxFile bytes}; a list of recipients of {cmd/milterd/internal/config.maxRecipientFile bytes}; an access list of {checks/access.maxFileSize bytes} | an error: the old one stays in force
`

// TestGeneratedLimits compares the table of limits with the constants of the program.
func TestGeneratedLimits(t *testing.T) {
	t.Parallel()
	compareGenerated(t, "doc/operating.md", "make examples", limitTable(t))
}

func limitTable(t *testing.T) string {
	t.Helper()
	var table strings.Builder
	bound := boundsOf(t)
	for line := range strings.Lines(strings.TrimSpace(limits)) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "# "); ok {
			fmt.Fprintf(&table, "\n### %s\n\n| what | limit | beyond it |\n|---|---|---|\n", title)
		} else if line != "" {
			fmt.Fprintf(&table, "| %s |\n", reference.ReplaceAllStringFunc(line, bound))
		}
	}
	return table.String() + "\n"
}

var reference = regexp.MustCompile(`\{[^}]+\}`)

// boundsOf returns a function that formats the value of a reference.
func boundsOf(t *testing.T) func(string) string {
	t.Helper()
	cfg := parseConfig(t, "")
	settings := map[string]string{
		"max_connections": grouped(int64(cfg.MaxConnections)), "budget": checks.FormatDuration(cfg.Policy.Budget),
		"dns.timeout": checks.FormatDuration(cfg.DNS.Timeout), "records.max": grouped(int64(cfg.Records.Max)),
		"records.keep": checks.FormatDuration(cfg.Records.Keep),
	}
	folders := map[string]constants{}
	return func(ref string) string {
		name, unit, _ := strings.Cut(strings.Trim(ref, "{}"), " ")
		if text, ok := settings[name]; ok {
			return text
		}
		parent, last := path.Split(name)
		base, name, ok := strings.Cut(last, ".")
		if !ok {
			t.Fatalf("%s is no reference", ref)
		}
		folder := filepath.Join("../..", parent, base)
		if folders[folder] == nil {
			folders[folder] = constantsIn(t, folder)
		}
		n := folders[folder].value(t, name)
		switch unit {
		case "bytes":
			return bytesText(n)
		case "time":
			return shortTime(time.Duration(n))
		default:
			return grouped(n)
		}
	}
}

// constants are the constants of a package, by name, and the fields of its variables, as VARIABLE.FIELD.
type constants map[string]ast.Expr

func constantsIn(t *testing.T, folder string) constants {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	all := constants{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST && g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for i, id := range v.Names {
					if i < len(v.Values) {
						all.add(id.Name, v.Values[i])
					}
				}
			}
		}
	}
	return all
}

// add adds a constant, or the fields of a variable with a keyed struct literal.
func (c constants) add(name string, value ast.Expr) {
	literal, ok := value.(*ast.CompositeLit)
	if !ok {
		c[name] = value
		return
	}
	for _, e := range literal.Elts {
		if field, ok := e.(*ast.KeyValueExpr); ok {
			if key, ok := field.Key.(*ast.Ident); ok {
				c[name+"."+key.Name] = field.Value
			}
		}
	}
}

// value returns the value of a constant; durations are in nanoseconds.
func (c constants) value(t *testing.T, name string) int64 {
	t.Helper()
	expr, ok := c[name]
	if !ok {
		t.Fatalf("there is no constant %s", name)
	}
	n, ok := constant.Int64Val(constant.ToInt(c.eval(t, expr)))
	if !ok {
		t.Fatalf("%s is no whole number", name)
	}
	return n
}

func (c constants) eval(t *testing.T, e ast.Expr) constant.Value {
	t.Helper()
	switch e := e.(type) {
	case *ast.BasicLit:
		return constant.MakeFromLiteral(e.Value, e.Kind, 0)
	case *ast.ParenExpr:
		return c.eval(t, e.X)
	case *ast.Ident:
		return constant.MakeInt64(c.value(t, e.Name))
	case *ast.SelectorExpr:
		units := map[string]time.Duration{"Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}
		if d, ok := units[e.Sel.Name]; ok {
			return constant.MakeInt64(int64(d))
		}
	case *ast.BinaryExpr:
		x, y := c.eval(t, e.X), c.eval(t, e.Y)
		if e.Op == token.SHL {
			n, _ := constant.Uint64Val(y)
			return constant.Shift(x, token.SHL, uint(n))
		}
		return constant.BinaryOp(x, e.Op, y)
	}
	t.Fatalf("cannot compute %T", e)
	return nil
}

// bytesText formats a size in the largest unit of which it is a multiple.
func bytesText(n int64) string {
	switch {
	case n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	default:
		return grouped(n) + " bytes"
	}
}

// shortTime formats a duration in the largest unit of which it is a multiple: 2h0m0s as 2 h.
func shortTime(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d%time.Second == 0:
		return fmt.Sprintf("%d s", d/time.Second)
	default:
		return fmt.Sprintf("%d ms", d/time.Millisecond)
	}
}

// grouped formats a number with commas.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
