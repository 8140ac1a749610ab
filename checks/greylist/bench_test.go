package greylist_test

import (
	"context"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/greylist"
)

// BenchmarkCheck checks one recipient of a new session, which has nothing remembered.
func BenchmarkCheck(b *testing.B) {
	benched := mail{client: "192.0.2.10", from: "alice@example.net", to: []string{"user@example.org"}}
	for _, c := range []struct {
		name string
		set  func(w *site, p *checks.Pipeline)
	}{
		{"known", func(w *site, p *checks.Pipeline) {
			w.send(p, benched)
			w.now = w.now.Add(3 * time.Minute)
			w.send(p, benched)
		}},
		{"early", func(w *site, p *checks.Pipeline) { w.send(p, benched) }},
		{"first", func(w *site, _ *checks.Pipeline) { w.env.Store = noStore{} }},
		{"unsuspected", func(w *site, _ *checks.Pipeline) { w.suspicions = nil }},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newSite(b)
			c.set(w, w.daemon(b))
			check := checktest.Build[greylist.Settings](b, greylist.Info, w.env, nil)
			s := checktest.Session{Client: "192.0.2.10", Helo: "mail1.example.net", MailFrom: "alice@example.net", Time: w.now}.Session(b)
			b.ReportAllocs()
			for b.Loop() {
				r := checks.NewRequest(s, checks.RcptTo, suspicions(w.suspicions)...)
				if _, err := check.Check(context.Background(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// suspicions returns verdicts of earlier checks with these reasons.
func suspicions(reasons []*checks.Reason) []checks.Verdict {
	var vs []checks.Verdict
	for _, r := range reasons {
		vs = append(vs, checks.Verdict{Reason: r})
	}
	return vs
}

// noStore is a store that has no records and keeps none.
type noStore struct{ checks.Store }

func (noStore) Get(context.Context, string) ([]byte, bool, error) { return nil, false, nil }
func (noStore) PutNew(context.Context, string, []byte, time.Duration) (bool, error) {
	return true, nil
}
