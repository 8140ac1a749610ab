package facts_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts"
)

// manyNames is a reverse zone that gives 192.0.2.10 names, numbered from 10 so that they sort, of which one may be
// confirmed.
func manyNames(names, confirmed int) string {
	var b strings.Builder
	for i := 10; i < 10+names; i++ {
		fmt.Fprintf(&b, "10.2.0.192.in-addr.arpa. PTR n%d.example.net.\n", i)
	}
	fmt.Fprintf(&b, "n%d.example.net. A 192.0.2.10\n", confirmed)
	return b.String()
}

func TestIprev(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, zone, client string
		want               facts.IprevResult
		confirmed          string
	}{
		{
			name: "names are sorted, lower case and without the last dot", client: "192.0.2.10", want: facts.IprevPass,
			zone:      "10.2.0.192.in-addr.arpa. PTR Z.example.net.\n10.2.0.192.in-addr.arpa. PTR A.EXAMPLE.net.\nz.example.net. A 192.0.2.10\na.example.net. A 192.0.2.10",
			confirmed: "a.example.net z.example.net",
		},
		{name: "no name", client: "192.0.2.10", want: facts.IprevPermError},
		{name: "an unknown client", want: ""},
		{name: "the tenth name is looked at", zone: manyNames(10, 19), client: "192.0.2.10", want: facts.IprevPass, confirmed: "n19.example.net"},
		{name: "ten bad names", zone: manyNames(10, 99), client: "192.0.2.10", want: facts.IprevFail},
		{name: "ten bad names and more: nobody knows", zone: manyNames(11, 20), client: "192.0.2.10", want: facts.IprevTempError},
		{name: "one good name among a hundred", zone: manyNames(80, 12), client: "192.0.2.10", want: facts.IprevPass, confirmed: "n12.example.net"},
		{
			name: "the zone of a link-local client is not part of its name", client: "fe80::1%eth0", want: facts.IprevPass,
			zone:      "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa. PTR link.example.net.\nlink.example.net. AAAA fe80::1",
			confirmed: "link.example.net",
		},
		{
			name: "an IPv4-mapped AAAA record is not the IPv4 client's address", client: "192.0.2.10", want: facts.IprevFail,
			zone: "10.2.0.192.in-addr.arpa. PTR mapped.example.net.\nmapped.example.net. AAAA ::ffff:192.0.2.10",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := checktest.Session{Client: test.client}.Request(t)
			names, err := facts.Iprev(context.Background(), checktest.Env(t, test.zone), s)
			if names.Result != test.want || (err != nil) != (test.want == facts.IprevTempError) {
				t.Errorf("got %q, error %v; want %q", names.Result, err, test.want)
			}
			if got := strings.Join(names.Confirmed, " "); got != test.confirmed {
				t.Errorf("confirmed %q, want %q", got, test.confirmed)
			}
		})
	}
}

func TestIprevIsAskedOncePerConnection(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, manyNames(3, 11))
	rec := &checktest.Recorder{Resolver: env.DNS}
	env.DNS = rec
	s := checktest.Session{Client: "192.0.2.10"}.Request(t)
	for range 3 {
		if _, err := facts.Iprev(context.Background(), env, s); err != nil {
			t.Fatal(err)
		}
		if ptr, err := facts.ClientPTR(context.Background(), env, s); err != nil || len(ptr) != 3 {
			t.Fatalf("%q, %v", ptr, err)
		}
	}
	for _, q := range rec.Asked() {
		if n := rec.Times(q); n != 1 {
			t.Errorf("%s was asked %d times", q, n)
		}
	}
}

// named is a check that asks whether the client has a confirmed name n11.
type named struct{ env checks.Env }

func (c named) Check(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	_, err := facts.ClientNamed(ctx, c.env, s, func(name string) bool { return name == "n11.example.net" })
	return nil, err
}

// failing fails for one name while it is down.
type failing struct {
	checks.Resolver
	name string
	down bool
}

func (r *failing) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if r.down && q.Name == r.name {
		return checks.Answer{}, errors.New("time-out")
	}
	return r.Resolver.Lookup(ctx, q)
}

// mails has 192.0.2.10 send mails on one connection, which are judged by named, and hands on how many failures each had. The client
// passes all the time.
func mails(t *testing.T, env checks.Env, n int, sent func(i, failures int)) {
	t.Helper()
	p, err := checks.New([]checks.Instance{{
		Info:  checks.Info{Name: "named", Stages: []checks.Stage{checks.Connect}, Reasons: []*checks.Reason{{ID: "a"}}},
		Check: named{env},
	}}, checks.Options{Actions: map[string]checks.Action{"a": checks.Watch}, ReplyAt: checks.RcptTo, Budget: 8 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	s := checktest.Session{Client: "192.0.2.10"}.Session(t)
	run := p.NewRun(s)
	run.Judge(t.Context(), checks.Connect)
	for i := range n {
		s.Envelope = checks.Envelope{MailFrom: checks.ParseAddress("a@example.net")}
		run.Judge(t.Context(), checks.MailFrom)
		s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("u@example.org")}}
		d := run.Judge(t.Context(), checks.RcptTo)
		if names, err := facts.Iprev(t.Context(), env, run.Request()); names.Result != facts.IprevPass || err != nil {
			t.Errorf("mail %d: %v, %v", i, names.Result, err)
		}
		sent(i, len(d.Failures))
	}
}

// TestAnUnknownNameIsAskedForAgain: the address of one of a client's names could not be found out for one mail, and is for the
// next. Its other name was a pass all the time.
func TestAnUnknownNameIsAskedForAgain(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, manyNames(2, 10)+"n11.example.net. A 192.0.2.10\n")
	dns := &failing{env.DNS, checks.Ask("n11.example.net", 1).Name, true}
	env.DNS = checks.Traced(dns)
	mails(t, env, 2, func(i, failures int) {
		if want := 1 - i; failures != want {
			t.Errorf("DNS down: %t: %d failures, want %d", dns.down, failures, want)
		}
		dns.down = false
	})
}

// TestManyNamesAreNoLoss: that a client has more names than are looked at is known for the whole connection.
func TestManyNamesAreNoLoss(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, manyNames(80, 12))
	rec := &checktest.Recorder{Resolver: env.DNS}
	env.DNS = rec
	mails(t, env, 3, func(int, int) {})
	for _, q := range rec.Asked() {
		if n := rec.Times(q); n != 1 {
			t.Errorf("%s was asked %d times", q, n)
		}
	}
}

// TestAnyNameMayBeAmongThousands: a client with so many names is not held to have none that match, and few of them are looked at.
func TestAnyNameMayBeAmongThousands(t *testing.T) {
	t.Parallel()
	for names, most := range map[int]int{11: 2, 3000: 1} {
		env := checktest.Env(t, manyNames(names, 11))
		s, looked := checktest.Session{Client: "192.0.2.10"}.Request(t), 0
		ok, err := facts.ClientNamed(t.Context(), env, s, func(string) bool { looked++; return false })
		if ok || (err != nil) != (names == 3000) || looked > most {
			t.Errorf("%d names: %t, %v, %d looked at", names, ok, err, looked)
		}
	}
}

// slow answers after a second.
type slow struct{ checks.Resolver }

func (r slow) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	time.Sleep(time.Second)
	return r.Resolver.Lookup(ctx, q)
}

func TestForwardLookupsRunInParallel(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, manyNames(10, 14))
	env.DNS = slow{env.DNS}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		names, err := facts.Iprev(context.Background(), env, checktest.Session{Client: "192.0.2.10"}.Request(t))
		if err != nil || names.Result != facts.IprevPass {
			t.Errorf("%v, %v", names, err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %s, want two round trips of a second", took)
		}
	})
}
