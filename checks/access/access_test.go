package access_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/access"
	"milterd/checks/checktest"
)

const zone = `
10.2.0.192.in-addr.arpa.      PTR  mail.example.net.
mail.example.net.             A    192.0.2.10
11.2.0.192.in-addr.arpa.      PTR  mail.example.net.          ; does not lead back
12.2.0.192.in-addr.arpa.      PTR  dsl-192-0-2-12.example.net.
dsl-192-0-2-12.example.net.   A    192.0.2.12
!SERVFAIL 13.2.0.192.in-addr.arpa
14.2.0.192.in-addr.arpa.      PTR  slow.example.net.
!TIMEOUT slow.example.net
15.2.0.192.in-addr.arpa.      PTR  slow.example.com.
!TIMEOUT slow.example.com
16.2.0.192.in-addr.arpa.      PTR  out.example.com.
out.example.com.              A    192.0.2.16
17.2.0.192.in-addr.arpa.      PTR  a.example.net.
17.2.0.192.in-addr.arpa.      PTR  b.example.net.
18.2.0.192.in-addr.arpa.      PTR  mail.example.org.
18.2.0.192.in-addr.arpa.      PTR  slow.example.net.
mail.example.org.             A    192.0.2.18
example.com.                  TXT  "v=spf1 ip4:192.0.2.20 -all"
wide.example.                 TXT  "v=spf1 +all"
!SERVFAIL broken.example
9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR v6.example.net.
v6.example.net.               AAAA 2001:db8::9
`

// write writes a list to a file in a new folder and returns its name.
func write(t testing.TB, lines string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(name, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// build returns the check with one deny and one allow list.
func build(t testing.TB, env checks.Env, deny, allow string) checks.Check {
	t.Helper()
	return checktest.Build(t, access.Info, env, func(s *access.Settings) {
		s.Deny, s.Allow = []string{write(t, deny)}, []string{write(t, allow)}
	})
}

// result returns the verdicts in short: the reasons, and "allow" for a vouch, or "perhaps" for an unsure one.
func result(vs []checks.Verdict) string {
	words := checktest.IDs(vs)
	for _, v := range vs {
		switch {
		case v.Vouch < checks.SkipAll:
		case v.Unsure:
			words = append(words, "perhaps")
		default:
			words = append(words, "allow")
		}
	}
	return strings.Join(words, " ")
}

func TestWhichEntryApplies(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	type session = checktest.Session
	for _, c := range []struct {
		name, deny, allow string
		s                 session
		want              string
		unknown           bool
	}{
		{name: "no lists", s: session{Client: "192.0.2.10", Helo: "mail.example.net", MailFrom: "user@example.com"}},

		{name: "an address", deny: "192.0.2.10", s: session{Client: "192.0.2.10"}, want: "client-denied"},
		{name: "another address", deny: "192.0.2.10", s: session{Client: "192.0.2.11"}},
		{name: "a network", deny: "192.0.2.0/28", s: session{Client: "192.0.2.10"}, want: "client-denied"},
		{name: "a network with host bits", deny: "192.0.2.9/28", s: session{Client: "192.0.2.10"}, want: "client-denied"},
		{name: "outside a network", deny: "192.0.2.0/28", s: session{Client: "192.0.2.16"}},
		{name: "an IPv6 address", deny: "2001:db8::9", s: session{Client: "2001:db8::9"}, want: "client-denied"},
		{name: "an IPv6 network", deny: "2001:db8::/64", s: session{Client: "2001:db8::9"}, want: "client-denied"},
		{name: "a mapped address", deny: "::ffff:192.0.2.10", s: session{Client: "192.0.2.10"}, want: "client-denied"},
		{name: "a mapped network", deny: "::ffff:192.0.2.0/120", s: session{Client: "192.0.2.10"}, want: "client-denied"},
		{name: "an unknown client", deny: "0.0.0.0/0\n::/0", s: session{MailFrom: "user@example.com"}},

		{name: "a name of the client", deny: "mail.example.net", s: session{Client: "192.0.2.10"}, want: "client-denied"},
		{name: "a name in capitals and with a dot", deny: "MAIL.Example.net.", s: session{Client: "192.0.2.10"}, want: "client-denied"},
		{name: "an unconfirmed name", deny: "mail.example.net", s: session{Client: "192.0.2.11"}, want: "client-denied"},
		{name: "a domain of the client", deny: ".example.net", s: session{Client: "192.0.2.10"}, want: "client-denied"},
		{name: "a top-level domain", deny: ".net", s: session{Client: "192.0.2.10"}, want: "client-denied"},
		{name: "a .domain matches the domain itself", deny: ".mail.example.net", s: session{Client: "192.0.2.10"}, want: "client-denied"},
		{name: "a host name does not match names below it", deny: "example.net", s: session{Client: "192.0.2.10"}},
		{name: "another domain", deny: ".l.example.net", s: session{Client: "192.0.2.10"}},
		{name: "two names of the client", deny: ".example.net", s: session{Client: "192.0.2.17"}, want: "client-denied"},
		{name: "a name of an IPv6 client", deny: "v6.example.net", s: session{Client: "2001:db8::9"}, want: "client-denied"},
		{name: "the reverse DNS fails", deny: ".example.net", s: session{Client: "192.0.2.13"}, unknown: true},
		{name: "the reverse DNS fails beside a denied address", deny: ".example.net\n192.0.2.13", s: session{Client: "192.0.2.13"}, want: "client-denied"},
		{name: "the reverse DNS fails beside a denied sender", deny: ".example.net\n@example.com", s: session{Client: "192.0.2.13", MailFrom: "user@example.com"}, want: "sender-denied", unknown: true},

		{name: "a HELO name", deny: "mail.example.net", s: session{Client: "192.0.2.99", Helo: "Mail.example.NET."}, want: "helo-denied"},
		{name: "a HELO name of one label", deny: "ylmf-pc", s: session{Client: "192.0.2.99", Helo: "ylmf-pc"}, want: "helo-denied"},
		{name: "a domain of the HELO name", deny: ".example.net", s: session{Client: "192.0.2.99", Helo: "a.b.example.net"}, want: "helo-denied"},
		{name: "an address literal", deny: ".example.net\n192.0.2.10", s: session{Client: "192.0.2.99", Helo: "[192.0.2.10]"}},

		{name: "a sender", deny: "user@example.com", s: session{Client: "192.0.2.99", MailFrom: "User@Example.com"}, want: "sender-denied"},
		{name: "another sender", deny: "user@example.com", s: session{Client: "192.0.2.99", MailFrom: "users@example.com"}},
		{name: "a sender with an extension", deny: "user@example.com", s: session{Client: "192.0.2.99", MailFrom: "user+list=x@example.com"}, want: "sender-denied"},
		{name: "an entry with an extension does not match the plain address", deny: "user+spam@example.com", s: session{Client: "192.0.2.99", MailFrom: "user@example.com"}},
		{name: "a sender in quotes", deny: `"us er"@example.com`, s: session{Client: "192.0.2.99", MailFrom: `"us er"@example.com`}, want: "sender-denied"},
		{name: "a local part at any domain", deny: "user@", s: session{Client: "192.0.2.99", MailFrom: "user+1@example.com"}, want: "sender-denied"},
		{name: "a sender's domain", deny: "@example.com", s: session{Client: "192.0.2.99", MailFrom: "user@example.com"}, want: "sender-denied"},
		{name: "a domain below it", deny: "@example.com", s: session{Client: "192.0.2.99", MailFrom: "user@sub.example.com"}},
		{name: "a domain and all below it", deny: "@.example.com", s: session{Client: "192.0.2.99", MailFrom: "user@a.b.example.com"}, want: "sender-denied"},
		{name: "a domain and all below it matches the domain itself", deny: "@.example.com", s: session{Client: "192.0.2.99", MailFrom: "user@example.com"}, want: "sender-denied"},
		{name: "an international domain", deny: "@bücher.example", s: session{Client: "192.0.2.99", MailFrom: "user@xn--bcher-kva.example"}, want: "sender-denied"},
		{name: "a host name does not match a sender's domain", deny: "example.com", s: session{Client: "192.0.2.99", MailFrom: "user@example.com"}},
		{name: "the null reverse-path", deny: "postmaster@\n@example.org", s: session{Client: "192.0.2.99", MailFrom: ""}},
		{name: "an address literal as sender", deny: "user@", s: session{Client: "192.0.2.99", MailFrom: "user@[192.0.2.99]"}},

		{name: "all three", deny: "192.0.2.0/24\n.example.net\nuser@example.com",
			s: session{Client: "192.0.2.10", Helo: "x.example.net", MailFrom: "user@example.com"}, want: "client-denied helo-denied sender-denied"},

		{name: "an allowed address", allow: "192.0.2.10", deny: "192.0.2.0/24\n@example.com\nhelo.example",
			s: session{Client: "192.0.2.10", Helo: "helo.example", MailFrom: "user@example.com"}, want: "allow"},
		{name: "an allowed network", allow: "192.0.2.0/24", deny: "192.0.2.10", s: session{Client: "192.0.2.10"}, want: "allow"},
		{name: "an allowed name", allow: "mail.example.net", deny: "192.0.2.0/24", s: session{Client: "192.0.2.10"}, want: "allow"},
		{name: "an allowed domain", allow: ".example.net", deny: "192.0.2.0/24", s: session{Client: "192.0.2.10"}, want: "allow"},
		{name: "an allowed name that is unconfirmed", allow: ".example.net", deny: "192.0.2.0/24", s: session{Client: "192.0.2.11"}, want: "client-denied"},
		{name: "a dynamic-looking name never vouches", allow: ".example.net\ndsl-192-0-2-12.example.net", s: session{Client: "192.0.2.12"}},
		{name: "a HELO name never vouches", allow: "mail.example.net", s: session{Client: "192.0.2.99", Helo: "mail.example.net"}},
		{name: "an allowed sender with SPF", allow: "user@example.com", deny: "192.0.2.0/24", s: session{Client: "192.0.2.20", MailFrom: "user@example.com"}, want: "allow"},
		{name: "an allowed sender's domain, with a confirmed name", allow: "@example.com", s: session{Client: "192.0.2.16", MailFrom: "user@example.com"}, want: "allow"},
		{name: "an allowed sender, forged", allow: "@example.com", deny: "192.0.2.0/24", s: session{Client: "192.0.2.99", MailFrom: "user@example.com"}, want: "client-denied"},
		{name: "an allowed sender whose SPF passes everybody", allow: "@wide.example", s: session{Client: "192.0.2.99", MailFrom: "user@wide.example"}},
		{name: "another sender's SPF", allow: "boss@example.com", s: session{Client: "192.0.2.20", MailFrom: "user@example.com"}},

		{name: "the reverse DNS of a client that may be allowed fails", allow: ".example.net", deny: "192.0.2.0/24", s: session{Client: "192.0.2.13"}, want: "client-denied perhaps", unknown: true},
		{name: "the address of an allowed name fails", allow: ".example.net", deny: "192.0.2.0/24", s: session{Client: "192.0.2.14"}, want: "client-denied perhaps", unknown: true},
		{name: "the address of an allowed name fails, another name is confirmed", allow: ".example.net", deny: "192.0.2.0/24", s: session{Client: "192.0.2.18"}, want: "client-denied perhaps", unknown: true},
		{name: "the address of another name fails", allow: ".example.com", deny: "192.0.2.0/24", s: session{Client: "192.0.2.18"}, want: "client-denied"},
		{name: "the address of the only name fails, which is not allowed", allow: ".example.net", deny: "192.0.2.0/24", s: session{Client: "192.0.2.15"}, want: "client-denied"},
		{name: "the SPF lookup of an allowed sender fails", allow: "@broken.example", deny: "192.0.2.0/24", s: session{Client: "192.0.2.99", MailFrom: "user@broken.example"}, want: "client-denied perhaps", unknown: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := c.s.Request(t)
			r.Stage = checks.MailFrom
			vs, err := build(t, env, c.deny, c.allow).Check(t.Context(), r)
			if got := result(vs); got != c.want || (err != nil) != c.unknown {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestEntriesEnd(t *testing.T) {
	t.Parallel()
	const lists = `
192.0.2.10     until=2026-11-21
192.0.2.0/24   until=2026-11-25 why="for the whole network"
192.0.2.128/25 until=2026-11-20
192.0.2.0/24   until=2026-11-20
host.example   until=2026-11-22
.example       until=2026-11-20
host.example   until=2026-11-20
@example.com   until=2026-11-20
@example.com
`
	env := checktest.Env(t, "")
	check := build(t, env, lists, "")
	at := func(text string) time.Time {
		d, err := time.Parse(time.DateTime, text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, c := range []struct {
		name, client, helo, from string
		now                      time.Time
		want, entry              string
	}{
		{name: "before its end", client: "192.0.2.10", now: at("2026-11-20 12:00:00"), want: "client-denied", entry: "192.0.2.10"},
		{name: "the last second of its day", client: "192.0.2.10", now: at("2026-11-21 23:59:59"), want: "client-denied", entry: "192.0.2.10"},
		{name: "the next day, the larger network", client: "192.0.2.10", now: at("2026-11-22 00:00:00"), want: "client-denied", entry: "192.0.2.0/24"},
		{name: "a smaller network has ended", client: "192.0.2.200", now: at("2026-11-21 00:00:00"), want: "client-denied", entry: "192.0.2.0/24"},
		{name: "all have ended", client: "192.0.2.10", now: at("2026-11-26 00:00:00")},
		{name: "two entries, the later end", client: "198.51.100.1", helo: "host.example", now: at("2026-11-22 10:00:00"), want: "helo-denied", entry: "host.example"},
		{name: "both entries of a name have ended", client: "198.51.100.1", helo: "host.example", now: at("2026-11-23 00:00:00")},
		{name: "two entries, one without end", client: "198.51.100.1", from: "user@example.com", now: at("2030-01-01 00:00:00"), want: "sender-denied", entry: "@example.com"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := checktest.Session{Client: c.client, Helo: c.helo, MailFrom: c.from, Time: c.now}.Request(t)
			vs, err := checktest.Ask(t, access.Info, check, r)
			if got := result(vs); got != c.want || err != nil {
				t.Fatalf("got %q, %v, want %q", got, err, c.want)
			}
			if c.entry != "" && vs[0].Detail["entry"] != c.entry {
				t.Errorf("entry %q, want %q", vs[0].Detail["entry"], c.entry)
			}
		})
	}
}

func TestValuesInReplies(t *testing.T) {
	t.Parallel()
	deny := write(t, "# ours\n\n192.0.2.0/24 why=\"sends \\\"offers\\\" # since May\" # not shown\nuser@example.com\n")
	check := checktest.Build(t, access.Info, checktest.Env(t, ""), func(s *access.Settings) { s.Deny = []string{deny} })
	vs, err := checktest.Ask(t, access.Info, check, checktest.Session{Client: "192.0.2.10", MailFrom: "user@example.com"}.Request(t))
	if err != nil || len(vs) != 2 {
		t.Fatalf("got %v, %v", vs, err)
	}
	for i, want := range []map[string]string{
		{"entry": "192.0.2.0/24", "why": `: sends "offers" # since May`, "file": deny, "line": "3"},
		{"entry": "user@example.com", "why": "", "file": deny, "line": "4"},
	} {
		if fmt.Sprint(vs[i].Detail) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", vs[i].Detail, want)
		}
	}
}

// TestSeveralFiles tests that the first file with an entry wins.
func TestSeveralFiles(t *testing.T) {
	t.Parallel()
	one, two := write(t, "192.0.2.1\n"), write(t, "192.0.2.2\n192.0.2.1 why=second\n")
	check := checktest.Build(t, access.Info, checktest.Env(t, ""), func(s *access.Settings) { s.Deny = []string{one, two} })
	for client, file := range map[string]string{"192.0.2.1": one, "192.0.2.2": two} {
		vs, err := checktest.Ask(t, access.Info, check, checktest.Session{Client: client}.Request(t))
		if err != nil || len(vs) != 1 || vs[0].Detail["file"] != file {
			t.Errorf("%s: got %+v, %v", client, vs, err)
		}
	}
}

func TestPrefetch(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	for name, c := range map[string]struct{ deny, allow string }{
		"addresses only":  {"192.0.2.99", "192.0.2.98"},
		"denied names":    {".example", ""},
		"allowed names":   {"", ".example.net"},
		"allowed senders": {"", "@example.com"},
		"denied senders":  {"@example.com", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := checktest.Session{Client: "192.0.2.10", Helo: "mail.example.net", MailFrom: "user@example.com"}.Request(t)
			rec := &checktest.Recorder{Resolver: env.DNS}
			recorded := env
			recorded.DNS = rec
			check := build(t, recorded, c.deny, c.allow)
			prefetched := checktest.Prefetched(t, check, env.DNS, r)
			r.Stage = checks.MailFrom
			if _, err := check.Check(t.Context(), r); err != nil {
				t.Error(err)
			}
			asked := rec.Asked()
			if !slices.Equal(asked, prefetched) {
				t.Errorf("asked %q, prefetched %q", asked, prefetched)
			}
			if none := name == "addresses only" || name == "denied senders"; none != (len(asked) == 0) {
				t.Errorf("asked %q", asked)
			}
		})
	}
}

// pipeline returns a pipeline with the check alone, whose reasons reject.
func pipeline(t *testing.T, check checks.Check) *checks.Pipeline {
	t.Helper()
	p, err := checks.New([]checks.Instance{{Info: access.Info, Check: check}}, checks.Options{
		Actions: map[string]checks.Action{"client-denied": checks.Reject, "helo-denied": checks.Reject, "sender-denied": checks.Reject},
		ReplyAt: checks.RcptTo, Budget: time.Minute, Trace: checks.TraceAll,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestDeniedAndPerhapsAllowed tests that a client that is denied is deferred while it is not known whether it is allowed too: it may
// run the name servers that do not answer.
func TestDeniedAndPerhapsAllowed(t *testing.T) {
	t.Parallel()
	p := pipeline(t, build(t, checktest.Env(t, zone), "192.0.2.0/24", ".example.net"))
	for client, code := range map[string]int{"192.0.2.13": 450, "192.0.2.16": 550} {
		d := p.NewRun(checktest.Session{Client: client, MailFrom: "user@example.com"}.Session(t)).Judge(t.Context(), checks.RcptTo)
		if d.Reply == nil || d.Reply.Code != code {
			t.Errorf("%s: %v, want %d", client, d.Reply, code)
		}
	}
}

func TestVouchNamesTheEntryThatAllows(t *testing.T) {
	t.Parallel()
	check := build(t, checktest.Env(t, ""), "", "# partners\n192.0.2.0/24\n")
	run := pipeline(t, check).NewRun(checktest.Session{Client: "192.0.2.10", MailFrom: "user@example.com"}.Session(t))
	d := run.Judge(t.Context(), checks.RcptTo)
	if len(d.Results) != 1 || len(d.Results[0].Vouched) != 1 || !strings.HasSuffix(d.Results[0].Vouched[0].Why, "list.txt:2: 192.0.2.0/24") {
		t.Errorf("got %+v", d.Results)
	}
	if got := run.Request().Vouch(0); got <= checks.SkipDelays {
		t.Errorf("vouch %d", got)
	}
	if got := run.Request().Vouched(); len(got) != 1 || got[0] != d.Results[0].Vouched[0] || got[0].Check != "access" {
		t.Errorf("got %+v", got)
	}
}
