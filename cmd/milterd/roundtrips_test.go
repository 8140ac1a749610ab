package main

import (
	"context"
	"io"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/checktest"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/session"
)

// roundTrip is how far away the DNS of farDNS is.
const roundTrip = 20 * time.Millisecond

// farDNS answers from a zone, each question once, a round trip later.
type farDNS struct {
	zone *checktest.Zone
	mu   sync.Mutex
	when map[checks.Question]time.Time // when the answer is there
}

func (f *farDNS) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	f.mu.Lock()
	at, asked := f.when[q]
	if !asked {
		at = time.Now().Add(roundTrip)
		f.when[q] = at
	}
	f.mu.Unlock()
	time.Sleep(time.Until(at))
	return f.zone.Lookup(ctx, q)
}

func (f *farDNS) Announce(qs []checks.Query) {
	for _, q := range qs {
		go func() {
			if a, err := f.Lookup(context.Background(), q.Question); err == nil && q.Then != nil {
				f.Announce(q.Then(a))
			}
		}()
	}
}

const farZone = `
9.2.0.192.in-addr.arpa.  PTR  mail.example.net.
mail.example.net.        A    192.0.2.9
example.net.             MX   10 mx.example.net.
mx.example.net.          A    192.0.0.9
example.net.             TXT  "v=spf1 mx include:spf.example.com -all"
spf.example.com.         TXT  "v=spf1 include:hosts.example.com ~all"
hosts.example.com.       TXT  "v=spf1 ip4:192.0.2.0/28 ~all"
`

// TestRoundTrips counts what a first session costs, whatever the number of checks, on a clock of its own.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		ahead   bool
		hurried bool // all commands come at once
		most    int
	}{
		// PTR and A, MX and A, and the longest: three SPF records, one in the other.
		{"asked ahead", true, false, 3},
		{"asked ahead when all has come already", true, true, 3},
		// So that the test can tell the difference.
		{"asked one after the other", false, false, 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				z, err := checktest.ParseZone(farZone)
				if err != nil {
					t.Fatal(err)
				}
				far := &farDNS{zone: z, when: map[checks.Question]time.Time{}}
				cfg, problems := config.Parse("test", []byte("profile: strict\nactions: {first-contact: off}\nhostname: mx.example.org\n"), all.Checks)
				if err := problems.Err(); err != nil {
					t.Fatal(err)
				}
				log := logrus.New()
				log.SetOutput(io.Discard)
				p, err := newPipeline(cfg, checks.Env{DNS: far, Store: checktest.NewStore(time.Now), Log: logrus.NewEntry(log)}, func(o *checks.Options) {
					if c.ahead {
						o.Announce = far
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if c.hurried {
					hurry(t, p)
				} else {
					play(t, p)
				}
				trips := int((time.Since(began) + roundTrip - 1) / roundTrip)
				t.Logf("%d round trips, %d questions", trips, len(far.when))
				if trips > c.most {
					t.Errorf("%d round trips, want %d at most", trips, c.most)
				}
				if !c.ahead && trips <= 3 {
					t.Errorf("%d round trips: this zone shows no difference", trips)
				}
				synctest.Wait()
			})
		})
	}
}

// play says one command after the other.
func play(t *testing.T, p *checks.Pipeline) {
	t.Helper()
	script := simulation{client: "192.0.2.9", helo: "mail.example.net", from: "a@example.net", rcpts: []string{"u@example.org"}}
	s, err := script.script()
	if err != nil {
		t.Fatal(err)
	}
	s.Steps[len(s.Steps)-1].Expect = []string{"250"}
	wrong, err := session.Play(s, &session.Pipeline{Pipeline: p, Now: time.Now}, nil)
	if err != nil || len(wrong) > 0 {
		t.Fatal(err, wrong)
	}
}

// hurry says the same as a mail server that tells all at once.
func hurry(t *testing.T, p *checks.Pipeline) {
	t.Helper()
	s := &checks.Session{ID: "t", Time: time.Now(), Client: netip.MustParseAddr("192.0.2.9"), Helo: "mail.example.net"}
	run := p.NewRun(s)
	s.Envelope.MailFrom = checks.ParseAddress("a@example.net")
	for _, st := range []checks.Stage{checks.Connect, checks.Helo, checks.MailFrom} {
		run.Judge(t.Context(), st)
	}
	s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("u@example.org")}}
	if d := run.Judge(t.Context(), checks.RcptTo); d.Reply != nil {
		t.Fatal(d.Reply)
	}
}
