package callout

import (
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
)

// The mail hosts have globally reachable addresses, which documentation addresses are not: those of RFC 7534 and RFC 7535, which
// no real mail host has.
const one = `
example.net.      MX  10 mx.example.net.
mx.example.net.   A   192.31.196.10
`

const host = "192.31.196.10"

// long returns a reply of almost the longest length.
func long(code string) string {
	return strings.Repeat(code+"-"+strings.Repeat("x", 2000)+"\n", 63) + code + " ok"
}

// TestAnswers tests what one mail host may reply about alice, who exists, and bob, who does not.
func TestAnswers(t *testing.T) {
	t.Parallel()
	type says = map[string]string
	for _, c := range []struct {
		name, from string
		says       says
		want       string // ids
		step       string // in the detail
		reply      string // part of the reply in the detail
		second     string // ids of the next mail from carol of the same domain; "-": not asked
		dials      int    // for both mails; 0: not checked
	}{
		{name: "an existing address", from: "alice@example.net", second: "callout-rejected", dials: 2},
		{name: "an unknown address", from: "bob@example.net", want: "callout-rejected", step: "rcpt", reply: "550 5.1.1 <bob@example.net>: Recipient address rejected: User unknown"},
		{name: "another case", from: "ALICE@example.net", says: says{"RCPT TO:<ALICE": "250 ok"}},
		{name: "a host that accepts everything", from: "bob@example.net", says: says{"RCPT": "250 ok"}, dials: 1},
		{name: "no enhanced status code", from: "bob@example.net", says: says{"RCPT": "550 no such user"}, want: "callout-rejected", step: "rcpt", reply: "550 no such user"},
		{name: "the words of a large provider", from: "bob@example.net", says: says{"RCPT": "550 5.4.1 Recipient address rejected: Access denied. [AM1 2026-11-21]"}, want: "callout-rejected", step: "rcpt", reply: "Access denied"},
		{name: "the words of another large provider", from: "bob@example.net", says: says{"RCPT": "550 5.5.0 Requested action not taken: mailbox unavailable"}, want: "callout-rejected", step: "rcpt", reply: "mailbox"},
		{name: "many lines", from: "bob@example.net", says: says{"RCPT": "550-5.1.1 The account does not exist.\n550 5.1.1 See the manual"}, want: "callout-rejected", step: "rcpt", reply: "550 5.1.1 The account does not exist. See the manual"},
		{name: "an address that has a policy word", from: "spam@example.net", want: "callout-rejected", step: "rcpt", reply: "550 5.1.1"},
		{name: "a full mailbox", from: "bob@example.net", says: says{"RCPT TO:<bob": "552 5.2.2 over quota"}, want: "callout-unreachable", step: "rcpt", reply: "552"},

		{name: "greylisting", from: "bob@example.net", says: says{"RCPT": "451 4.7.1 greylisted, come back"}, want: "callout-unreachable", step: "rcpt", reply: "451 4.7.1", second: "callout-unreachable", dials: 2},
		{name: "greylisting of the random address only", from: "bob@example.net", says: says{"RCPT TO:<callout-test-x": "450 later"}, want: "callout-rejected", step: "rcpt"},
		{name: "greylisting in 5yz", from: "bob@example.net", says: says{"RCPT": "550 greylisted, try again later"}, want: "callout-unreachable", step: "random"},
		{name: "a blocklist at RCPT", from: "bob@example.net", says: says{"RCPT": "554 5.7.1 Service unavailable; client host [1.2.3.4] blocked using bl.example"}, want: "callout-unreachable", step: "random", reply: "554", second: "callout-unreachable", dials: 1},
		{name: "a policy without an enhanced status code", from: "bob@example.net", says: says{"RCPT": "550 your IP has a bad reputation"}, want: "callout-unreachable", step: "random"},
		{name: "SPF", from: "bob@example.net", says: says{"RCPT": "550 SPF check failed"}, want: "callout-unreachable", step: "random"},
		{name: "a policy about the address only", from: "bob@example.net", says: says{"RCPT TO:<bob": "550 5.7.1 not for you"}, want: "callout-unreachable", step: "rcpt"},
		{name: "a reply about our sender address", from: "bob@example.net", says: says{"RCPT": "550 5.1.8 bad domain"}, want: "callout-unreachable", step: "random"},
		{name: "a reply about our syntax", from: "bob@example.net", says: says{"RCPT": "501 what"}, want: "callout-unreachable", step: "random"},

		{name: "a 554 greeting", from: "bob@example.net", says: says{"greeting": "554 no SMTP here"}, want: "callout-unreachable", step: "greeting", reply: "554 no SMTP here", second: "callout-unreachable", dials: 1},
		{name: "a 421 greeting", from: "bob@example.net", says: says{"greeting": "421 busy"}, want: "callout-unreachable", step: "greeting", reply: "421 busy", second: "callout-unreachable", dials: 2},
		{name: "421 at EHLO", from: "bob@example.net", says: says{"EHLO": "421 4.3.2 shutting down"}, want: "callout-unreachable", step: "helo", reply: "421 4.3.2"},
		{name: "421 at MAIL", from: "bob@example.net", says: says{"MAIL": "421 4.3.2 shutting down"}, want: "callout-unreachable", step: "mail", reply: "421 4.3.2"},
		{name: "421 at RCPT", from: "bob@example.net", says: says{"RCPT TO:<bob": "421 4.7.0 too many errors"}, want: "callout-unreachable", step: "rcpt", reply: "421"},
		{name: "421 after the random address", from: "bob@example.net", says: says{"RCPT TO:<callout-test": "421 bye"}, want: "callout-unreachable", step: "random", reply: "421"},
		{name: "unknown EHLO", from: "alice@example.net", says: says{"EHLO": "502 what?"}},
		{name: "EHLO and HELO are refused", from: "bob@example.net", says: says{"EHLO": "502 what?", "HELO": "550 no"}, want: "callout-unreachable", step: "helo", reply: "550 no"},
		{name: "EHLO is refused by policy", from: "bob@example.net", says: says{"EHLO": "550 blocked"}, want: "callout-unreachable", step: "helo", reply: "550 blocked"},
		{name: "the null reverse-path is refused", from: "bob@example.net", says: says{"MAIL": "550 5.7.1 no null sender"}, want: "callout-unreachable", step: "mail", reply: "550 5.7.1", second: "callout-unreachable", dials: 1},
		{name: "MAIL is deferred", from: "bob@example.net", says: says{"MAIL": "451 later"}, want: "callout-unreachable", step: "mail", reply: "451 later"},
		{name: "a reply of 354", from: "bob@example.net", says: says{"RCPT": "354 go on"}, want: "callout-unreachable", step: "rcpt"},

		{name: "an endless greeting", from: "bob@example.net", says: says{"greeting": "!endless"}, want: "callout-unreachable", step: "greeting", reply: "more than 2048 bytes", second: "callout-unreachable", dials: 1},
		{name: "endless lines", from: "bob@example.net", says: says{"RCPT": "!lines"}, want: "callout-unreachable", step: "random", reply: "more than 64 lines"},
		{name: "too many bytes", from: "bob@example.net", says: says{"greeting": long("220"), "EHLO": long("250")}, want: "callout-unreachable", step: "helo", reply: "more than 131072 bytes"},
		{name: "a hundred lines", from: "bob@example.net", says: says{"RCPT TO:<bob": strings.Repeat("550-5.1.1 no\n", 99) + "550 5.1.1 no"}, want: "callout-unreachable", step: "rcpt", reply: "more than 64 lines"},
		{name: "NULs", from: "bob@example.net", says: says{"RCPT TO:<bob": "550 5.1.1 no\x00such\x00user"}, want: "callout-rejected", step: "rcpt", reply: "550 5.1.1 no?such?user"},
		{name: "a NUL in the code", from: "bob@example.net", says: says{"RCPT TO:<bob": "55\x000 no"}, want: "callout-unreachable", step: "rcpt", reply: "does not speak SMTP"},
		{name: "forged lines", from: "bob@example.net", says: says{"RCPT TO:<bob": "550 5.1.1 no\r250 yes\x1b[2J\xe2\x80\xae"}, want: "callout-rejected", step: "rcpt", reply: "550 5.1.1 no 250 yes?[2J???"},
		{name: "the random address is accepted and the real one is not", from: "bob@example.net", says: says{"RCPT TO:<callout-test": "250 ok"}, dials: 1},
		{name: "a policy refuses postmaster", from: "postmaster@example.net", says: says{"RCPT": "550 5.7.1 no callouts here"}, want: "callout-unreachable", step: "random", reply: "550 5.7.1", second: "callout-unreachable", dials: 1},
		{name: "a web server", from: "bob@example.net", says: says{"greeting": "HTTP/1.1 400 \x1b[31mBad\nX: y"}, want: "callout-unreachable", step: "greeting", reply: `does not speak SMTP: "HTTP/1.1 400 ?[31mBad"`},
		{name: "two codes in one reply", from: "bob@example.net", says: says{"EHLO": "250-mx\n550 no"}, want: "callout-unreachable", step: "helo", reply: "does not speak SMTP"},
		{name: "half a line", from: "bob@example.net", says: says{"MAIL": "!half"}, want: "callout-unreachable", step: "mail", reply: "closed the connection"},
		{name: "EOF instead of the greeting", from: "bob@example.net", says: says{"greeting": "!eof"}, want: "callout-unreachable", step: "greeting", reply: "closed the connection"},
		{name: "EOF at EHLO", from: "bob@example.net", says: says{"EHLO": "!eof"}, want: "callout-unreachable", step: "helo", reply: "closed"},
		{name: "EOF at MAIL", from: "bob@example.net", says: says{"MAIL": "!eof"}, want: "callout-unreachable", step: "mail", reply: "closed"},
		{name: "EOF at the random address", from: "bob@example.net", says: says{"RCPT": "!eof"}, want: "callout-unreachable", step: "random", reply: "closed"},
		{name: "EOF at RCPT", from: "bob@example.net", says: says{"RCPT TO:<bob": "!eof"}, want: "callout-unreachable", step: "rcpt", reply: "closed"},
		{name: "EOF at QUIT", from: "bob@example.net", says: says{"QUIT": "!eof"}, want: "callout-rejected", step: "rcpt"},
		{name: "no reply to QUIT", from: "bob@example.net", says: says{"QUIT": "!silent"}, want: "callout-rejected", step: "rcpt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLab(t, one, map[string]*server{host: {users: []string{"alice@example.net", "ALICE@example.net"}, says: c.says}}, nil)
				o := l.mail(c.from)
				l.want("first", o, c.want)
				if o.took > 0 {
					t.Errorf("took %s", o.took)
				}
				if c.want != "" && (o.detail["at"] != c.step || !strings.Contains(o.detail["reply"], c.reply)) {
					t.Errorf("got %q at %s, want %q at %s", o.detail["reply"], o.detail["at"], c.reply, c.step)
				}
				if c.want != "" && (o.detail["mx"] != "mx.example.net" || o.detail["address"] != host || o.detail["sender"] != "<"+c.from+">") {
					t.Errorf("detail %v", o.detail)
				}
				if said := l.said(); strings.HasPrefix(o.detail["reply"], "sent") || strings.HasPrefix(o.detail["reply"], "does not") {
					if strings.Contains(said, "QUIT") || l.open != 0 {
						t.Errorf("%d connections are open, after %s", l.open, said)
					}
				}
				dials := l.dials()
				again := l.mail(c.from)
				l.want("the same again", again, c.want)
				l.wantDials("the same again", dials)
				if again.detail["reply"] != o.detail["reply"] {
					t.Errorf("the reply was %q and is now %q", o.detail["reply"], again.detail["reply"])
				}
				if c.dials > 0 {
					l.want("another sender", l.mail("carol@example.net"), c.second)
					l.wantDials("another sender", c.dials)
				}
				for line := range strings.SplitSeq(l.said(), "; ") {
					switch verb, _, _ := strings.Cut(line, " "); verb {
					case "", "EHLO", "HELO", "MAIL", "RCPT", "QUIT":
					default:
						t.Errorf("said %q", line)
					}
				}
			})
		})
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	cert := certificate()
	for _, c := range []struct {
		name   string
		server server
		change func(*Settings)
		ids    string
		said   string
	}{
		{"the random address comes first", server{}, nil, "",
			"EHLO mx.example.org; MAIL FROM:<>; RCPT TO:<callout-test-x@example.net>; RCPT TO:<alice@example.net>; QUIT"},
		{"no random address with random: false", server{}, func(s *Settings) { s.Random = false }, "",
			"EHLO mx.example.org; MAIL FROM:<>; RCPT TO:<alice@example.net>; QUIT"},
		{"no RCPT after the random address was accepted", server{says: map[string]string{"RCPT": "250 ok"}}, nil, "",
			"EHLO mx.example.org; MAIL FROM:<>; RCPT TO:<callout-test-x@example.net>; QUIT"},
		{"HELO if EHLO is unknown", server{says: map[string]string{"EHLO": "500 what?"}}, nil, "",
			"EHLO mx.example.org; HELO mx.example.org; MAIL FROM:<>; RCPT TO:<callout-test-x@example.net>; RCPT TO:<alice@example.net>; QUIT"},
		{"no STARTTLS if it is not needed", server{cert: cert}, nil, "",
			"EHLO mx.example.org; MAIL FROM:<>; RCPT TO:<callout-test-x@example.net>; RCPT TO:<alice@example.net>; QUIT"},
		{"STARTTLS if MAIL needs it", server{cert: cert, says: map[string]string{"MAIL": "530 5.7.0 Must issue a STARTTLS command first"}}, nil, "",
			"EHLO mx.example.org; MAIL FROM:<>; STARTTLS; EHLO mx.example.org; MAIL FROM:<>; RCPT TO:<callout-test-x@example.net>; RCPT TO:<alice@example.net>; QUIT"},
		{"STARTTLS if RCPT needs it", server{cert: cert, says: map[string]string{"RCPT TO:<callout-test": "550 5.7.10 Encryption needed", "TLS": "250 ok"}}, nil, "callout-unreachable",
			"EHLO mx.example.org; MAIL FROM:<>; RCPT TO:<callout-test-x@example.net>; STARTTLS; EHLO mx.example.org; MAIL FROM:<>; RCPT TO:<callout-test-x@example.net>; QUIT"},
		{"no STARTTLS if it is not offered", server{says: map[string]string{"MAIL": "530 5.7.0 Must issue a STARTTLS command first"}}, nil, "callout-unreachable",
			"EHLO mx.example.org; MAIL FROM:<>; QUIT"},
		{"STARTTLS is refused", server{cert: cert, says: map[string]string{"MAIL": "530 5.7.0 STARTTLS first", "STARTTLS": "454 not now"}}, nil, "callout-unreachable",
			"EHLO mx.example.org; MAIL FROM:<>; STARTTLS; QUIT"},
		{"clear text after STARTTLS", server{cert: cert, says: map[string]string{"MAIL": "530 5.7.0 STARTTLS first", "STARTTLS": "!early"}}, nil, "callout-unreachable",
			"EHLO mx.example.org; MAIL FROM:<>; STARTTLS"},
		{"from is not used if <> is accepted", server{}, func(s *Settings) { s.From = "probe@example.com" }, "",
			"EHLO mx.example.org; MAIL FROM:<>; RCPT TO:<callout-test-x@example.net>; RCPT TO:<alice@example.net>; QUIT"},
		{"from is used if <> is refused at RCPT", server{says: map[string]string{"RCPT": "550 5.7.1 <>: Sender address rejected"}}, func(s *Settings) { s.From = "probe@example.com" }, "callout-unreachable",
			"EHLO mx.example.org; MAIL FROM:<>; RCPT TO:<callout-test-x@example.net>; RSET; MAIL FROM:<probe@example.com>; RCPT TO:<callout-test-x@example.net>; QUIT"},
		{"<> is refused, without from", server{says: map[string]string{"RCPT": "550 5.1.0 <>: what is that"}}, nil, "callout-unreachable",
			"EHLO mx.example.org; MAIL FROM:<>; RCPT TO:<callout-test-x@example.net>; QUIT"},
		{"no RCPT after from was deferred", server{says: map[string]string{"RCPT": "550 5.7.1 <>: Sender address rejected", "MAIL FROM:<probe": "451 4.3.0 later"}}, func(s *Settings) { s.From = "probe@example.com" }, "callout-unreachable",
			"EHLO mx.example.org; MAIL FROM:<>; RCPT TO:<callout-test-x@example.net>; RSET; MAIL FROM:<probe@example.com>; QUIT"},
		{"no RCPT after MAIL was deferred with TLS", server{cert: cert, says: map[string]string{"RCPT": "530 5.7.0 STARTTLS first", "TLS MAIL": "451 4.3.0 later"}}, nil, "callout-unreachable",
			"EHLO mx.example.org; MAIL FROM:<>; RCPT TO:<callout-test-x@example.net>; STARTTLS; EHLO mx.example.org; MAIL FROM:<>; QUIT"},
		{"from is used if <> is refused at MAIL", server{says: map[string]string{"MAIL FROM:<>": "550 no"}}, func(s *Settings) { s.From = "probe@example.com" }, "",
			"EHLO mx.example.org; MAIL FROM:<>; MAIL FROM:<probe@example.com>; RCPT TO:<callout-test-x@example.net>; RCPT TO:<alice@example.net>; QUIT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c.server.users = []string{"alice@example.net"}
				l := newLab(t, one, map[string]*server{host: &c.server}, c.change)
				l.want("verdict", l.mail("alice@example.net"), c.ids)
				if got := l.said(); got != c.said {
					t.Errorf("said %s\nwant %s", got, c.said)
				}
			})
		})
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	author := func(value string) func(r *checks.Request) {
		return func(r *checks.Request) {
			r.Stage = checks.EndOfHeader
			r.Envelope.Header = append(r.Envelope.Header, field("From", value))
		}
	}
	for _, c := range []struct {
		name, from string
		change     func(*Settings)
		session    func(r *checks.Request)
		want       string
		silent     bool // no callout
	}{
		{name: "an outside address", from: "bob@example.net", want: "callout-rejected"},
		{name: "the null reverse-path", from: "<>", silent: true},
		{name: "a local domain", from: "bob@example.org", silent: true},
		{name: "an address literal", from: "bob@[192.31.196.10]", silent: true},
		{name: "an address with a line break", from: "\"bob\r\nDATA\"@example.net", silent: true},
		{name: "an address that needs SMTPUTF8", from: "b\u00f6b@example.net", silent: true},
		{name: "no domain", from: "bob", silent: true},
		{name: "a quoted local part", from: `"bob b"@example.net`, want: "callout-rejected"},
		{name: "a vouch", from: "bob@example.net", session: func(r *checks.Request) {
			*r = *checks.NewRequest(r.Session, r.Stage, checks.Verdict{Vouch: checks.SkipDelays})
		}, silent: true},
		{name: "a recipient that is our own from", from: "bob@example.net", change: func(s *Settings) { s.From = "user@example.org" }, silent: true},
		{name: "a recipient that is the random address of a callout", from: "bob@example.net", session: func(r *checks.Request) {
			r.Envelope.Rcpts[0].Address = checks.ParseAddress(randomLocal() + "@example.org")
		}, silent: true},
		{name: "a domain in domains", from: "bob@example.net", change: func(s *Settings) { s.Domains = []string{"example.net"} }, want: "callout-rejected"},
		{name: "a domain below one in domains", from: "bob@example.net", change: func(s *Settings) { s.Domains = []string{".net"} }, want: "callout-rejected"},
		{name: "a domain that is not in domains", from: "bob@example.net", change: func(s *Settings) { s.Domains = []string{"example.com"} }, silent: true},
		{name: "a domain in skip", from: "bob@example.net", change: func(s *Settings) { s.Skip = []string{"Example.NET"} }, silent: true},
		{name: "a mail host in skip", from: "bob@example.net", change: func(s *Settings) { s.Skip = []string{"mx.example.net"} }, silent: true},

		{name: "the author", from: "list@example.org", session: author("Bob <bob@example.net>"), want: "from-callout-rejected"},
		{name: "the first author", from: "list@example.org", session: author("bob@example.net, alice@example.net"), want: "from-callout-rejected"},
		{name: "an author that exists", from: "list@example.org", session: author("alice@example.net")},
		{name: "an author who is the sender", from: "Bob@example.net", session: author("bob@EXAMPLE.net"), silent: true},
		{name: "the author of a bounce", from: "<>", session: author("bob@example.net"), silent: true},
		{name: "a local author", from: "list@example.com", session: author("bob@example.org"), silent: true},
		{name: "an invalid author", from: "list@example.com", session: author("bob at example.net"), silent: true},
		{name: "no author", from: "list@example.com", session: func(r *checks.Request) { r.Stage = checks.EndOfHeader }, silent: true},
		{name: "an author whose domain does not exist", from: "list@example.org", session: author("bob@nowhere.example")},
		{name: "an author, with a vouch", from: "list@example.org", session: func(r *checks.Request) {
			author("bob@example.net")(r)
			*r = *checks.NewRequest(r.Session, r.Stage, checks.Verdict{Vouch: checks.SkipDelays})
		}, silent: true},
		{name: "an author, without an accepted recipient", from: "list@example.org", session: func(r *checks.Request) {
			author("bob@example.net")(r)
			r.Envelope.Rcpts[0].Refused = "5.1.1"
		}, silent: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLab(t, one, map[string]*server{host: {users: []string{"alice@example.net"}}}, c.change)
				r := l.session(c.from)
				r.Stage = checks.RcptTo
				if c.session != nil {
					c.session(r)
				}
				l.want("verdict", l.at(l.c, r.Stage, r), c.want)
				if c.silent {
					l.wantDials("no callout", 0)
				}
			})
		})
	}
}

func TestAuthorWithoutAnswer(t *testing.T) {
	for _, says := range []map[string]string{{"greeting": "!silent"}, {"RCPT": "451 later"}, {"MAIL": "550 blocked"}} {
		t.Run("", func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLab(t, one, map[string]*server{host: {says: says}}, nil)
				r := l.session("list@example.org")
				r.Envelope.Header = append(r.Envelope.Header, field("From", "bob@example.net"))
				o := l.at(l.c, checks.EndOfHeader, r)
				l.want("verdict", o, "")
				if o.took > 8*time.Second-reserve {
					t.Errorf("took %s", o.took)
				}
				l.wantDials("asked", 1)
			})
		})
	}
}

func TestPrefetch(t *testing.T) {
	t.Parallel()
	l := newLab(t, one, nil, nil)
	for from, want := range map[string]string{"bob@example.net": "example.net. MX, mx.example.net. A, mx.example.net. AAAA", "<>": "", "a@example.org": ""} {
		got := checktest.Prefetched(t, l.c, l.env.DNS, l.session(from))
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: prefetched %q", from, got)
		}
	}
}

func TestReplies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, one, map[string]*server{host: {users: []string{"alice@example.net"}}}, nil)
		p := checktest.Pipeline(t, checks.Options{Actions: checktest.Actions(Info, checks.Reject)}, checks.Instance{Info: Info, Check: l.c})
		run := func(from, want string) {
			t.Helper()
			got := ""
			if d := p.NewRun(l.session(from).Session).Judge(t.Context(), checks.RcptTo); d.Reply != nil {
				got = d.Reply.String()
			}
			if got != want {
				t.Errorf("%s: got  %s\nwant %s", from, got, want)
			}
		}
		run("alice@example.net", "")
		run("bob@example.net", "550 5.1.7 mx.example.net takes no mail for the sender address <bob@example.net>: "+
			"550 5.1.1 <bob@example.net>: Recipient address rejected: User unknown")
		run("bob@nowhere.example", "450 4.1.7 no mail host says whether <bob@nowhere.example> exists; nowhere.example at dns: the domain takes no mail")
		l.set(host, &server{says: map[string]string{"greeting": "!silent"}})
		run("carol@example.net", "450 4.1.7 a mail host of <carol@example.net> is still being asked whether it exists, please try again")
	})
}

// TestReasonsThatAreOff tests that no callout is made for reasons that are off for the recipient.
func TestReasonsThatAreOff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		on           []*checks.Reason // others are off
		from, author bool             // whether there is a callout about them
	}{
		{"all are on", Info.Reasons, true, true},
		{"only from-callout-rejected", []*checks.Reason{fromRejected}, false, true},
		{"only callout-rejected", []*checks.Reason{rejected}, true, false},
		{"only callout-unreachable", []*checks.Reason{unreachable}, true, false},
		{"only callout-pending", []*checks.Reason{pending}, true, false},
		{"none", nil, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLab(t, one, map[string]*server{host: {users: []string{"alice@example.net", "bob@example.net"}}}, nil)
				actions := checktest.Actions(Info, checks.Off)
				for _, r := range c.on {
					actions[r.ID] = checks.Watch
				}
				p := checktest.Pipeline(t, checks.Options{
					Actions:  checktest.Actions(Info, checks.Off),
					Policies: []checks.Policy{{Recipients: checktest.Recipients(t, "@example.org"), Actions: actions}},
				}, checks.Instance{Info: Info, Check: l.c})
				r := l.session("alice@example.net")
				r.Envelope.Header = append(r.Envelope.Header, field("From", "bob@example.net"))
				run := p.NewRun(r.Session)
				run.Judge(t.Context(), checks.RcptTo)
				run.Judge(t.Context(), checks.EndOfMessage)
				said := l.said()
				if from := strings.Contains(said, "<alice@"); from != c.from {
					t.Errorf("callout about the sender: %t; %s", from, said)
				}
				if author := strings.Contains(said, "<bob@"); author != c.author {
					t.Errorf("callout about the author: %t; %s", author, said)
				}
			})
		})
	}
}
