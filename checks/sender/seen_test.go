package sender_test

import (
	"strings"
	"testing"
	"time"

	"milterd/checks/checktest"
	"milterd/checks/sender"
)

func TestFirstSeen(t *testing.T) {
	t.Parallel()
	type step struct {
		after time.Duration // since the step before
		from  string
		want  string
	}
	const isNew = "domain-new"
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"in the first week, no domain is new", []step{{0, "a@old.net", ""}, {6 * day, "a@young.net", ""}, {23 * time.Hour, "a@young.net", ""}}},
		{"after a week, a domain not seen before is new", []step{{0, "a@old.net", ""}, {6 * day, "a@old.net", ""}, {day, "a@young.net", isNew}, {23 * time.Hour, "b@young.net", isNew}, {time.Hour, "a@young.net", ""}}},
		{"after a week, a domain seen before is not new", []step{{0, "a@old.net", ""}, {6 * day, "a@edge.net", ""}, {2 * day, "a@old.net", ""}, {0, "b@edge.net", ""}}},
		{"subdomains of one domain count as the domain", []step{{0, "a@old.net", ""}, {6 * day, "a@young.net", ""}, {2 * day, "a@mail.young.net", ""}}},
		{"names under a private public suffix are different domains", []step{{0, "a@old.net", ""}, {6 * day, "a@old.net", ""}, {0, "a@github.io", ""}, {2 * day, "a@someone.github.io", isNew}}},
		{"after a pause of a week, the first week begins again", []step{{0, "a@old.net", ""}, {6 * day, "a@old.net", ""}, {7 * day, "a@young.net", ""}}},
		{"a domain that writes each week is not new", []step{{0, "a@old.net", ""}, {6 * day, "a@edge.net", ""}, {6 * day, "a@edge.net", ""}, {6 * day, "a@edge.net", ""}}},
		{"senders without an outside domain are never new", []step{{0, "a@old.net", ""}, {6 * day, "a@old.net", ""}, {day, "a@example.org", "sender-own-domain"}, {0, "<>", ""}, {0, "a@[192.0.2.10]", ""}, {0, "a@co.uk", ""}, {0, "a@nowhere.net", "sender-no-domain"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			st := newSite(t, ageZone, nil, func(c *sender.Settings) { c.FirstSeen = day })
			for i, step := range test.steps {
				st.now = st.now.Add(step.after)
				got := strings.Join(st.mail(t, checktest.Session{Client: "192.0.2.10", MailFrom: step.from}), " ")
				if got != step.want {
					t.Errorf("step %d, %s: got %q, want %q", i, step.from, got, step.want)
				}
			}
		})
	}
	t.Run("off by default", func(t *testing.T) {
		t.Parallel()
		st := newSite(t, ageZone, nil, nil)
		st.mail(t, checktest.Session{Client: "192.0.2.10", MailFrom: "a@old.net"})
		for r := range st.env.Store.Scan(t.Context(), "sender:") {
			t.Errorf("stored %s", r.Key)
		}
	})
	t.Run("a domain is remembered for 180 days after its last mail", func(t *testing.T) {
		t.Parallel()
		st := newSite(t, ageZone, nil, func(c *sender.Settings) { c.FirstSeen = day })
		old, other := checktest.Session{Client: "192.0.2.10", MailFrom: "a@old.net"}, checktest.Session{Client: "192.0.2.10", MailFrom: "a@edge.net"}
		st.mail(t, old)
		for range 2 { // the second time is a year after the first mail
			for range 179 {
				st.now = st.now.Add(day)
				st.mail(t, other)
			}
			if got := st.mail(t, old); len(got) > 0 {
				t.Errorf("after 179 days: %q", got)
			}
		}
		for range 180 {
			st.now = st.now.Add(day)
			st.mail(t, other)
		}
		if got := strings.Join(st.mail(t, old), " "); got != isNew {
			t.Errorf("after 180 days: %q", got)
		}
	})
}
