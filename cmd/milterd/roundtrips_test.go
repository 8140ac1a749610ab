package main

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/cmd/milterd/internal/session"
	"milterd/milter/log"
)

// roundTrip is the time in which farDNS answers.
const roundTrip = 20 * time.Millisecond

// farDNS is a resolver that answers from a zone after a round trip. It asks each question once.
type farDNS struct {
	zone *checktest.Zone
	mu   sync.Mutex
	when map[checks.Question]time.Time // time of the answer
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

// TestRoundTrips counts the DNS round trips of a first session, in virtual time.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		prefetch  bool
		pipelined bool // all commands come at once
		most      int
	}{
		// The longest chain is that of three SPF records, each of which includes the next.
		{"prefetch", true, false, 3},
		{"prefetch and pipelined commands", true, true, 3},
		{"no prefetch", false, false, 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				z, err := checktest.ParseZone(farZone)
				if err != nil {
					t.Fatal(err)
				}
				far := &farDNS{zone: z, when: map[checks.Question]time.Time{}}
				cfg := parseConfig(t, "profile: strict\nactions: {first-contact: off}\nhostname: mx.example.org\n")
				p, err := newPipeline(cfg, checks.Env{DNS: far, Store: checktest.NewStore(time.Now), Log: log.Discard()}, func(o *checks.Options) {
					if c.prefetch {
						o.Announce = far
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if c.pipelined {
					playPipelined(t, p)
				} else {
					play(t, p)
				}
				trips := int((time.Since(began) + roundTrip - 1) / roundTrip)
				t.Logf("%d round trips, %d questions", trips, len(far.when))
				if trips > c.most {
					t.Errorf("%d round trips, want %d at most", trips, c.most)
				}
				if !c.prefetch && trips <= 3 {
					t.Errorf("%d round trips without prefetch: the zone is too simple for this test", trips)
				}
				synctest.Wait()
			})
		})
	}
}

// play plays a session in which each command waits for the reply to the one before.
func play(t *testing.T, p *checks.Pipeline) {
	t.Helper()
	flags := simulateFlags{client: "192.0.2.9", helo: "mail.example.net", from: "a@example.net", rcpts: []string{"u@example.org"}}
	s, err := flags.script()
	if err != nil {
		t.Fatal(err)
	}
	s.Steps[len(s.Steps)-1].Expect = []string{"250"}
	wrong, err := session.Play(s, &session.InProcess{Pipeline: p, Now: time.Now}, nil)
	if err != nil || len(wrong) > 0 {
		t.Fatal(err, wrong)
	}
}

// playPipelined plays the same session as a mail server that sends all commands at once.
func playPipelined(t *testing.T, p *checks.Pipeline) {
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
