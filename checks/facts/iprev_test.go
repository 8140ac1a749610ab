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

// manyNames returns a zone that gives 192.0.2.10 so many names, n10 and up. The name with the number confirmed resolves to it.
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
			name: "names become sorted, lower case and without the last dot", client: "192.0.2.10", want: facts.IprevPass,
			zone:      "10.2.0.192.in-addr.arpa. PTR Z.example.net.\n10.2.0.192.in-addr.arpa. PTR A.EXAMPLE.net.\nz.example.net. A 192.0.2.10\na.example.net. A 192.0.2.10",
			confirmed: "a.example.net z.example.net",
		},
		{name: "no name", client: "192.0.2.10", want: facts.IprevPermError},
		{name: "client without address", want: ""},
		{name: "the tenth name is looked up", zone: manyNames(10, 19), client: "192.0.2.10", want: facts.IprevPass, confirmed: "n19.example.net"},
		{name: "ten names that do not resolve to the client", zone: manyNames(10, 99), client: "192.0.2.10", want: facts.IprevFail},
		{name: "more than ten names, and the first ten do not resolve to the client", zone: manyNames(11, 20), client: "192.0.2.10", want: facts.IprevTempError},
		{name: "one confirmed name of eighty", zone: manyNames(80, 12), client: "192.0.2.10", want: facts.IprevPass, confirmed: "n12.example.net"},
		{
			name: "an IPv6 client with zone", client: "2001:db8::1%eth0", want: facts.IprevPass,
			zone:      "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR link.example.net.\nlink.example.net. AAAA 2001:db8::1",
			confirmed: "link.example.net",
		},
		{name: "a private client", client: "10.0.0.5", zone: "5.0.0.10.in-addr.arpa. PTR a.example.net.\na.example.net. A 10.0.0.5"},
		{
			name: "an IPv4-mapped AAAA record", client: "192.0.2.10", want: facts.IprevFail,
			zone: "10.2.0.192.in-addr.arpa. PTR mapped.example.net.\nmapped.example.net. AAAA ::ffff:192.0.2.10",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := checktest.Session{Client: test.client}.Request(t)
			names, err := facts.Iprev(context.Background(), checktest.Env(t, test.zone), r)
			if names.Result != test.want || (err != nil) != (test.want == facts.IprevTempError) {
				t.Errorf("got %q, error %v; want %q", names.Result, err, test.want)
			}
			if got := strings.Join(names.Confirmed, " "); got != test.confirmed {
				t.Errorf("confirmed %q, want %q", got, test.confirmed)
			}
		})
	}
}

func TestIprevIsRemembered(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, manyNames(3, 11))
	rec := &checktest.Recorder{Resolver: env.DNS}
	env.DNS = rec
	r := checktest.Session{Client: "192.0.2.10"}.Request(t)
	for range 3 {
		if _, err := facts.Iprev(context.Background(), env, r); err != nil {
			t.Fatal(err)
		}
		if ptr, err := facts.ClientPTR(context.Background(), env, r); err != nil || len(ptr) != 3 {
			t.Fatalf("%q, %v", ptr, err)
		}
	}
	for _, q := range rec.Asked() {
		if n := rec.Times(q); n != 1 {
			t.Errorf("%s was asked %d times", q, n)
		}
	}
}

// named is a check that uses ClientNamed.
type named struct{ env checks.Env }

func (c named) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	_, err := facts.ClientNamed(ctx, c.env, r, func(name string) bool { return name == "n11.example.net" })
	return nil, err
}

// failing is a resolver that fails for one name while down is set.
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

// judgeMails has the check named judge n mails of 192.0.2.10 on one connection. It calls sent with the number of failures of each
// mail. The result of Iprev must be a pass each time.
func judgeMails(t *testing.T, env checks.Env, n int, sent func(i, failures int)) {
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

// TestFailedNameIsLookedUpAgain has the lookup of one name fail for the first mail. Another name is confirmed.
func TestFailedNameIsLookedUpAgain(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, manyNames(2, 10)+"n11.example.net. A 192.0.2.10\n")
	dns := &failing{env.DNS, checks.Ask("n11.example.net", 1).Name, true}
	env.DNS = checks.Traced(dns)
	judgeMails(t, env, 2, func(i, failures int) {
		if want := 1 - i; failures != want {
			t.Errorf("DNS down: %t: %d failures, want %d", dns.down, failures, want)
		}
		dns.down = false
	})
}

// TestManyNamesAreLookedUpOnce tests that the error for more than ten names is remembered for the connection.
func TestManyNamesAreLookedUpOnce(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, manyNames(80, 12))
	rec := &checktest.Recorder{Resolver: env.DNS}
	env.DNS = rec
	judgeMails(t, env, 3, func(int, int) {})
	for _, q := range rec.Asked() {
		if n := rec.Times(q); n != 1 {
			t.Errorf("%s was asked %d times", q, n)
		}
	}
}

// TestManyNamesAreNotKept tests that any name may be among thousands, and that they are neither compared nor kept.
func TestManyNamesAreNotKept(t *testing.T) {
	t.Parallel()
	for _, names := range []int{10, 11, 3000} {
		env := checktest.Env(t, manyNames(names, 11))
		r, compared := checktest.Session{Client: "192.0.2.10"}.Request(t), 0
		ok, err := facts.ClientNamed(t.Context(), env, r, func(string) bool { compared++; return false })
		if ok || (err != nil) != (names > 10) || compared > 1 {
			t.Errorf("%d names: %t, %v, %d compared", names, ok, err, compared)
		}
		ptr, err := facts.ClientPTR(t.Context(), env, r)
		if len(ptr) != 10 || cap(ptr) != 10 || (err != nil) != (names > 10) {
			t.Errorf("%d names: kept %d of %d, %v", names, len(ptr), cap(ptr), err)
		}
	}
}

// slow is a resolver that answers after a second.
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
