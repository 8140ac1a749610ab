package callout

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
)

// report returns the condition of a check, after Maintain.
func (l *lab) report(c *check) checks.Condition {
	l.t.Helper()
	c.Maintain(l.t.Context(), time.Now())
	list := c.Report()
	if len(list) != 1 || list[0].Name != "mail hosts" {
		l.t.Fatalf("reported %+v", list)
	}
	return list[0]
}

func (l *lab) wantCounts(what string, got checks.Condition, want map[string]uint64) {
	l.t.Helper()
	all := map[string]uint64{"daily": uint64(l.c.Daily), "today": 0, "under_way": 0, "refusing": 0}
	for _, name := range counted {
		all[strings.ReplaceAll(name, "-", "_")] = 0
	}
	maps.Copy(all, want)
	if !maps.Equal(got.Counts, all) {
		l.t.Errorf("%s: counted %v\nwant %v", what, got.Counts, all)
	}
}

func TestReportCounts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, provider(20)+one, map[string]*server{host: {users: []string{"alice@d0.example"}}}, nil)
		l.wantCounts("at first", l.report(l.c), nil)
		l.mail("alice@d0.example")
		l.mail("alice@d0.example")
		l.mail("bob@d0.example")
		l.set(host, &server{says: map[string]string{"RCPT": "450 later"}})
		l.mail("bob@d1.example")
		l.mail("bob@nowhere.example")
		l.set(host, &server{says: map[string]string{"RCPT": "250 ok"}})
		l.mail("bob@n1.example")
		synctest.Wait()
		l.wantCounts("answers", l.report(l.c), map[string]uint64{
			"callouts": 5, "known": 1, "connections": 4, "today": 4, "accepted": 1, "rejected": 1, "temporary": 1, "failed": 1, "accept_all": 1,
		})

		l.set(host, &server{says: map[string]string{"greeting": "!silent"}})
		l.mail("bob@n2.example")
		got := l.report(l.c)
		if got.Counts["under_way"] != 1 || got.Counts["pending"] != 1 {
			t.Errorf("during a callout: %v", got.Counts)
		}
		time.Sleep(maxFlight)
		if got = l.report(l.c); got.Counts["under_way"] != 0 || got.Counts["failed"] != 2 {
			t.Errorf("after it ended: %v", got.Counts)
		}
	})
}

func TestReportOfLimits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, provider(20), map[string]*server{host: {}}, nil)
		for i := range 12 {
			l.mail(fmt.Sprintf("bob@n%d.example", i))
		}
		l.wantCounts("over per_mx", l.report(l.c), map[string]uint64{"callouts": 12, "connections": 10, "rejected": 10, "limited": 2, "today": 10})
		for i := range maxFlights {
			l.c.flights[fmt.Sprint(i)] = nil
		}
		l.mail("bob@n19.example")
		if got := l.report(l.c).Counts; got["limited"] != 3 || got["callouts"] != 12 {
			t.Errorf("too many at a time: %v", got)
		}
	})
}

func TestReportOfRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		zone, servers := "", map[string]*server{}
		for i := range 7 {
			addr := fmt.Sprintf("192.31.196.%d", i)
			zone += fmt.Sprintf("d%d.example. MX 10 mx%d.example.\nmx%d.example. A %s\n", i, i, i, addr)
			servers[addr] = &server{says: map[string]string{"MAIL": "550 5.7.1 no\x1bcallouts"}}
		}
		l := newLab(t, zone, servers, nil)
		l.mail("bob@d0.example")
		got := l.report(l.c)
		until := time.Now().Add(3 * time.Hour).UTC().Format("2006-01-02 15:04 UTC")
		if want := "not asked because they refuse callouts: mx0.example until " + until + " (550 5.7.1 no?callouts)"; got.Note != want || got.Why != "" || got.State != "on" {
			t.Errorf("got  %s: %s\nwant %s", got.State, got.Why, want)
		}
		// Another daemon reads it from the store.
		second := l.daemon(l.c.Settings)
		l.at(second, checks.RcptTo, l.session("carol@d0.example"))
		if got := l.report(second); got.Counts["refusing"] != 1 || got.Counts["connections"] != 0 {
			t.Errorf("another daemon: %v", got.Counts)
		}
		for i := range 7 {
			l.mail(fmt.Sprintf("bob@d%d.example", i))
		}
		got = l.report(l.c)
		if got.Counts["refusing"] != 7 || strings.Count(got.Note, "550") != maxRefusingShown || !strings.HasSuffix(got.Note, ", and 2 more") {
			t.Errorf("got %v: %s", got.Counts, got.Why)
		}
		time.Sleep(3 * time.Hour)
		if got = l.report(l.c); got.Counts["refusing"] != 0 || got.Note != "" {
			t.Errorf("later: %v: %s", got.Counts, got.Why)
		}
	})
}

func TestReportOfTheDay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, provider(9), map[string]*server{host: {}}, func(s *Settings) { s.Daily = 3 })
		second := l.daemon(l.c.Settings)
		for i := range 2 {
			l.mail(fmt.Sprintf("bob@d%d.example", i))
		}
		if got := l.report(second); got.Counts["today"] != 2 || got.State != "on" {
			t.Errorf("the other daemon: %v %s", got.Counts, got.State)
		}
		for i := range 9 {
			l.mail(fmt.Sprintf("bob@d%d.example", i))
		}
		got := l.report(l.c)
		if got.Counts["today"] != 3 || got.Counts["daily"] != 3 || got.State != "spent" || got.Why == "" {
			t.Errorf("spent: %v %s %s", got.Counts, got.State, got.Why)
		}
		l.store.Fail(errors.New("outage"))
		if got = l.report(l.c); got.Counts["today"] != 3 {
			t.Errorf("without a store: %v", got.Counts)
		}
		l.store.Fail(nil)
		time.Sleep(24 * time.Hour)
		if got = l.report(l.c); got.Counts["today"] != 0 || got.State != "on" || got.Why != "" {
			t.Errorf("the next day: %v %s %s", got.Counts, got.State, got.Why)
		}
	})
}

// TestRefusingHostsAreLimited tests that a stranger with many mail hosts does not fill the memory.
func TestRefusingHostsAreLimited(t *testing.T) {
	t.Parallel()
	tl := stats{refusing: map[string]refusal{}}
	for i := range 3 * maxRefusing {
		tl.addRefusal(answer{Result: resultRefused, Host: fmt.Sprintf("mx%d.example", i), At: 1}, time.Hour)
	}
	if len(tl.refusing) != maxRefusing {
		t.Errorf("%d are kept", len(tl.refusing))
	}
	tl.addRefusal(answer{Result: resultRefused, Host: "mx0.example", At: 5}, time.Hour)
	if got := tl.refusing["mx0.example"].until.Unix(); got != 3605 {
		t.Errorf("a known host: until %d", got)
	}
}
