package main_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"

	"milterd/checks"
	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// reasonCase is a dialogue for which one reason applies, and how it is refused.
type reasonCase struct {
	miltertest.Session
	at     gomilter.Code // the event that is answered: R for RCPT, N or E for the header
	code   string        // with the enhanced code
	saying string        // what the text must name
	stage  string        // in the log

	// What follows from other reasons, or from what was before.
	action string              // at which the reason is tried; empty: reject
	also   map[string]string   // actions of the reasons without which it never applies
	before *miltertest.Session // that another connection has, which is refused
	times  int                 // how often; 0: once
	behind bool                // it is found out behind the mail: later ones are refused
	told   string              // reason that answers; empty: its own
}

func client(addr, code, saying string) reasonCase {
	d := daemontest.GoodSession(func(d *miltertest.Session) { d.Client, d.ClientName = addr, "["+addr+"]" })
	return reasonCase{Session: d, at: 'R', code: code, saying: saying, stage: "connect"}
}

func helo(name, code string) reasonCase {
	d := daemontest.GoodSession(func(d *miltertest.Session) { d.Helo = []string{name} })
	return reasonCase{Session: d, at: 'R', code: code, saying: name, stage: "helo"}
}

func sender(addr, code, saying string) reasonCase {
	d := daemontest.GoodSession(func(d *miltertest.Session) { d.MailFrom = addr })
	return reasonCase{Session: d, at: 'R', code: code, saying: saying, stage: "mail"}
}

// atMail is for what is judged when the sender is known.
func atMail(c reasonCase) reasonCase {
	c.stage = "mail"
	return c
}

// atRcpt is for senders that are judged for the recipient.
func atRcpt(c reasonCase) reasonCase {
	c.stage = "rcpt"
	return c
}

func header(saying string, changes ...daemontest.Field) reasonCase {
	d := daemontest.GoodSession(func(d *miltertest.Session) { d.Header = daemontest.GoodHeader(changes...) })
	return reasonCase{Session: d, at: 'N', code: "550 5.6.0", saying: saying, stage: "header"}
}

// counted is a dialogue that passes one of the lowLimits.
func counted(saying string, change func(*miltertest.Session)) reasonCase {
	return reasonCase{Session: daemontest.GoodSession(change), at: 'R', code: "550 5.7.1", saying: saying, stage: "rcpt"}
}

// reasonSettings are limits that one short dialogue passes, if it is bad, lists, and a port for callouts.
func reasonSettings(t *testing.T) string {
	deny := filepath.Join(t.TempDir(), "deny.txt")
	if err := os.WriteFile(deny, []byte("11.7.7.7 why=\"no spam please\"\ndenied.client.test\n@denied.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`budget: 3s
checks:
  access: {deny: [%q]}
  counters: {resets: 2, bad_recipients: 2, errors: 2}
  dnsbl: {zones: [{zone: bl.test, codes: [127.0.0.2]}, {zone: rhs.test, codes: [127.0.0.2], query: sender}]}
  callout: {port: %d, allow_private: true}
  sender: {history: 1, new_domain: 30d, rdap: %q}
`, deny, startMailHosts(t), startRegistry(t))
}

// reasonCases has a case for every reason that exists.
func reasonCases() map[string]reasonCase {
	later := time.Now().Add(48 * time.Hour).Format(time.RFC1123Z)
	twice := header("Subject")
	twice.Header = append(twice.Header, daemontest.Field{"Subject", "again"})
	nameless := daemontest.GoodSession(func(d *miltertest.Session) { d.Helo = nil })
	changed := daemontest.GoodSession(func(d *miltertest.Session) { d.Helo = append(d.Helo, "second.client.test") })
	heloFail := helo("helofail.client.test", "550 5.7.23")
	guesses := func(d *miltertest.Session) { d.UnknownRcpts = []string{"ann@mx.test", "ben@mx.test", "cat@mx.test"} }
	guessing := daemontest.GoodSession(guesses)
	blocked := counted("127.0.0.10 is blocked until", func(*miltertest.Session) {})
	blocked.before, blocked.also = &guessing, map[string]string{"too-many-bad-recipients": "tempfail"}
	strangers := client("127.0.0.13", "451 4.7.1", "greylisted for 180 s more: 127.0.0.13 has no reverse DNS name")
	strangers.stage, strangers.action, strangers.also = "rcpt", "tempfail", map[string]string{"rdns-missing": "greylist"}
	first := client(daemontest.GoodClient, "451 4.7.1", "greylisted for 180 s more: 127.0.0.10 sends the first mail from <a@sender.test> to <alice@mx.test>")
	first.ClientName, first.stage, first.action, first.told = daemontest.GoodHelo, "rcpt", "greylist", "greylisted"
	first.also = map[string]string{"greylisted": "tempfail"}
	listed := client("11.5.5.5", "550 5.7.1", "11.5.5.5 is listed in bl.test: see the bl.test page")
	author := header("nobody@callout.test", daemontest.Field{"From", "nobody@callout.test"})
	author.code = "550 5.7.1"
	bad := daemontest.GoodSession(func(d *miltertest.Session) { d.Header = daemontest.GoodHeader(daemontest.Field{"Date", "yesterday"}) })
	unloved := sender(daemontest.GoodSender, "550 5.7.1", daemontest.GoodSender)
	unloved.before, unloved.times, unloved.also = &bad, 2, map[string]string{"date-invalid": "reject"}
	young := sender("a@young.com", "550 5.7.1", "young.com")
	young.behind = true
	return map[string]reasonCase{
		"client-denied": atMail(client("11.7.7.7", "550 5.7.1", "no spam please")),
		"helo-denied":   atMail(helo("denied.client.test", "550 5.7.1")),
		"sender-denied": sender("a@denied.test", "550 5.7.1", "denied.test"),

		"client-blocked":          blocked,
		"too-many-resets":         counted("127.0.0.10 gave up too many", func(d *miltertest.Session) { d.Resets = 3 }),
		"too-many-bad-recipients": counted("127.0.0.10 named too many unknown", guesses),
		"too-many-errors":         counted("127.0.0.10 sent too much that was refused", guesses),

		"rdns-missing":  client("127.0.0.13", "550 5.7.25", "127.0.0.13"),
		"rdns-mismatch": client("127.0.0.11", "550 5.7.25", "127.0.0.11"),
		"rdns-dynamic":  client("11.6.6.6", "550 5.7.1", "11-6-6-6.dsl.isp.test"),

		"helo-missing":      {Session: nameless, at: 'R', code: "503 5.5.1", stage: "helo"},
		"helo-syntax":       helo("-bad-.client.test", "501 5.5.2"),
		"helo-underscore":   helo("bad_name.client.test", "501 5.5.2"),
		"helo-bare-ip":      helo(daemontest.GoodClient, "501 5.5.2"),
		"helo-not-fqdn":     helo("workstation", "504 5.5.2"),
		"helo-literal":      helo("[11.2.3.4]", "550 5.7.1"),
		"helo-literal-near": helo("[127.0.0.77]", "550 5.7.1"),
		"helo-own-name":     helo("mx.test", "550 5.7.1"),
		"helo-unresolvable": helo("nowhere.client.test", "550 5.7.1"),
		"helo-cname":        helo("alias.client.test", "550 5.7.1"),
		"helo-mismatch":     helo("other.client.test", "550 5.7.1"),
		"helo-changed":      {Session: changed, at: 'R', code: "550 5.7.1", saying: "second.client.test", stage: "helo"},

		"sender-syntax":     sender("a b@sender.test", "553 5.1.7", "a b@sender.test"),
		"sender-syntax-lax": sender("a..b@sender.test", "553 5.1.7", "a..b@sender.test"),
		"sender-no-domain":  sender("a@nodomain.test", "550 5.1.8", "nodomain.test"),
		"sender-null-mx":    sender("a@nullmx.test", "550 5.7.27", "nullmx.test"),
		"sender-bogus-mx":   sender("a@bogus.test", "550 5.1.8", "bogus.test"),
		"sender-own-domain": sender("a@mx.test", "550 5.7.1", "mx.test"),

		"sender-history": unloved,
		"domain-new":     young,

		"dnsbl-listed": listed,
		"rhsbl-listed": sender("a@listed.test", "550 5.7.1", "listed.test"),

		"spf-fail":      sender("a@fail.test", "550 5.7.23", "127.0.0.10 is no server of fail.test"),
		"spf-no-mail":   sender("a@nomail.test", "550 5.7.23", "nomail.test"),
		"spf-too-wide":  sender("a@wide.test", "550 5.7.1", "wide.test"),
		"spf-helo-fail": heloFail,
		"spf-softfail":  sender("a@soft.test", "550 5.7.1", "soft.test"),
		"spf-none":      sender("a@none.test", "550 5.7.1", "none.test"),
		"spf-permerror": sender("a@perm.test", "550 5.7.24", "perm.test"),
		"spf-temperror": sender("a@temp.test", "451 4.7.24", "temp.test"),

		"mxplus-mismatch": sender(daemontest.GoodSender, "550 5.7.1", "sender.test"),

		"date-missing":    header("Date", daemontest.Field{"Date", "-"}),
		"date-invalid":    header("yesterday", daemontest.Field{"Date", "yesterday"}),
		"date-future":     header("20", daemontest.Field{"Date", later}),
		"date-past":       header("1999", daemontest.Field{"Date", "Sat, 20 Nov 1999 12:00:00 +0000"}),
		"msgid-missing":   header("Message-ID", daemontest.Field{"Message-ID", "-"}),
		"msgid-invalid":   header("no-brackets", daemontest.Field{"Message-ID", "no-brackets"}),
		"from-missing":    header("From", daemontest.Field{"From", "-"}),
		"from-invalid":    header("nobody at all", daemontest.Field{"From", "nobody at all"}),
		"field-duplicate": twice,
		"field-too-long":  header("X-Long", daemontest.Field{"X-Long", strings.Repeat("x", 1200)}),
		"field-8bit":      header("Subject", daemontest.Field{"Subject", "gr\xfc\xdfe"}),
		"field-syntax":    header("Bad Name", daemontest.Field{"Bad Name", "x"}),

		"callout-rejected":      atRcpt(sender("nobody@callout.test", "550 5.1.7", "nobody@callout.test")),
		"callout-unreachable":   atRcpt(sender("a@refusing.test", "450 4.1.7", "refusing.test")),
		"callout-pending":       atRcpt(sender("a@silent.test", "450 4.1.7", "silent.test")),
		"from-callout-rejected": author,

		"first-contact": first,
		"greylisted":    strangers,
	}
}

// TestReasons shows that each reason refuses by itself what its case has, and nothing else would: where it is off, the
// same dialogue passes.
func TestReasons(t *testing.T) {
	cases, reasons := reasonCases(), daemontest.Reasons()
	for id := range reasons {
		// What needs no mail server or list of the site may have its case beside its check: TestSessionsOverTheSocket plays it.
		own, err := filepath.Glob("../../checks/*/testdata/" + id + ".session")
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := cases[id]; !ok && len(own) == 0 {
			t.Errorf("%s has no end-to-end case", id)
		}
	}
	dns := dnstest.Start(t, daemontest.World).Addr
	settings := reasonSettings(t)
	silent := daemontest.Start(t, daemontest.Config{DNS: dns, Profile: "watch", Actions: daemontest.OnlyReason("", ""), Extra: settings})
	for id, c := range cases {
		r := reasons[id]
		if r == nil {
			t.Errorf("%s is not registered", id)
			continue
		}
		t.Run(id, func(t *testing.T) {
			for _, d := range c.dialogues() {
				if step := silent.Play(t, d); step.Event != 0 {
					t.Errorf("off: refused at %c: %s", step.Event, step.Response.Raw)
				}
			}
			for _, e := range silent.Entries(t, 0) {
				if e["reason"] != "" {
					t.Errorf("off: logged %v", e)
				}
			}
			if r.Most == checks.Watch {
				c.testWatched(t, id, dns, settings)
				return
			}
			c.testRefused(t, id, dns, settings)
		})
	}
}

func (c reasonCase) testRefused(t *testing.T, id, dns, settings string) {
	action := cmp.Or(c.action, "reject")
	actions := daemontest.OnlyReason(id, action)
	maps.Copy(actions, c.also)
	d := daemontest.Start(t, daemontest.Config{DNS: dns, Profile: "watch", Actions: actions, Extra: settings + daemontest.ExplainConfig(t.TempDir())})
	for range c.beforeTimes() {
		if step := d.Play(t, *c.before); step.Event == 0 {
			t.Fatalf("what must come before passed; log: %s", d.Output())
		}
	}
	mark := d.Mark()
	step := d.Play(t, c.Session)
	for began := time.Now(); c.behind && step.Event == 0 && time.Since(began) < 20*time.Second; {
		mark = d.Mark()
		step = d.Play(t, c.Session)
	}
	at := step.Event
	if at == 'E' {
		at = 'N' // the end of the header and of the message are one to the client
	}
	if step.Event == 0 {
		t.Fatalf("passed; want %s; log: %s", c.code, d.Output())
	}
	codes, text := daemontest.ReadReply(t, step.Response)
	text, link, _ := strings.Cut(text, "; http://")
	if at != c.at || step.Response.Action != gomilter.ActReplyCode || codes != c.code || !strings.Contains(text, c.saying) {
		t.Errorf("%c answered %s %q, want %s at %c, naming %q", step.Event, codes, text, c.code, c.at, c.saying)
	}
	e := d.AwaitEntry(t, mark, daemontest.Entry{"msg": action, "reason": id, "stage": c.stage, "action": action})
	if c.told != "" {
		checkEntry(t, e, c.Session, e["code"]+" "+e["text"])
		e = d.AwaitEntry(t, mark, daemontest.Entry{"msg": "tempfail", "reason": c.told, "stage": c.stage, "action": "tempfail"})
	}
	checkEntry(t, e, c.Session, codes+" "+text)
	checkLink(t, "http://"+link, daemontest.Reasons()[cmp.Or(c.told, id)], codes+" "+text)
}

func (c reasonCase) beforeTimes() int {
	if c.before == nil {
		return 0
	}
	return max(1, c.times)
}

// dialogues are all that the case has.
func (c reasonCase) dialogues() []miltertest.Session {
	var list []miltertest.Session
	for range c.beforeTimes() {
		list = append(list, *c.before)
	}
	return append(list, c.Session)
}

func (c reasonCase) testWatched(t *testing.T, id, dns, settings string) {
	d := daemontest.Start(t, daemontest.Config{DNS: dns, Profile: "watch", Actions: daemontest.OnlyReason(id, "watch"), Extra: settings})
	mark := d.Mark()
	if step := d.Play(t, c.Session); step.Event != 0 {
		t.Fatalf("refused at %c: %s", step.Event, step.Response.Raw)
	}
	e := d.AwaitEntry(t, mark, daemontest.Entry{"msg": "watch", "reason": id, "stage": c.stage, "action": "watch"})
	checkEntry(t, e, c.Session, e["code"]+" "+e["text"])
}

// checkEntry compares a line of the log with the dialogue and the reply, which is the code and the text.
func checkEntry(t *testing.T, e daemontest.Entry, d miltertest.Session, reply string) {
	t.Helper()
	for _, f := range daemontest.DecisionFields {
		if _, ok := e[f]; !ok {
			t.Errorf("log line lacks %s: %v", f, e)
		}
	}
	last := ""
	if len(d.Helo) > 0 {
		last = d.Helo[len(d.Helo)-1]
	}
	want := daemontest.Entry{"client": d.Client, "helo": last, "mail_from": d.MailFrom}
	if !e.Has(want) {
		t.Errorf("log line %v, want %v", e, want)
	}
	if e["session"] == "" || !slices.Contains(d.Rcpts, e["rcpt"]) {
		t.Errorf("log line names session %q and recipient %q", e["session"], e["rcpt"])
	}
	if got := e["code"] + " " + e["text"]; got != reply {
		t.Errorf("logged %q, answered %q", got, reply)
	}
}
