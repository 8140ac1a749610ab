package commands

import (
	"strings"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
)

func TestGreylistCommands(t *testing.T) {
	t.Parallel()
	d, _ := daemontest.StartWithSocket(t, nil, "")
	if out := d.MustRun(t, "greylist", "list"); !strings.Contains(out, "no triplets") {
		t.Errorf("empty list: %q", out)
	}
	if list := daemontest.DecodeJSON[[]daemontest.Triplet](t, d, "greylist", "list"); len(list) != 0 {
		t.Errorf("empty list: %v", list)
	}
	if r := d.Command(t, "greylist", "show", "mx.test"); r.Code != 1 || r.Stderr != "milterd: greylisting knows nothing of mx.test\n" {
		t.Errorf("show without records: %+v", r)
	}
	d.MustRefuse(t, from, daemontest.GoodSender, "alice@mx.test", "451 4.7.1 greylisted", "")
	d.MustRefuse(t, from, daemontest.GoodSender, "bob@mx.test", "451 4.7.1 greylisted", "")
	d.MustRefuse(t, other, "a@none.test", "alice@mx.test", "451 4.7.1 greylisted", "")
	testGreylistList(t, d)
	testGreylistAllow(t, d)
	testGreylistForget(t, d)
}

// The clients of TestGreylistCommands.
const from, other = "192.0.2.9", "198.51.100.9"

func testGreylistList(t *testing.T, d *daemontest.Daemon) {
	table := d.MustRun(t, "greylist", "list")
	daemontest.WantRow(t, table, "STATE", "CLIENT", "FROM", "TO", "SUSPICION")
	daemontest.WantRow(t, table, "waiting", "192.0.2.0/24", from, "<"+daemontest.GoodSender+">", "<bob@mx.test>", "1", "rdns-missing")
	list := daemontest.DecodeJSON[[]daemontest.Triplet](t, d, "greylist", "list", "a@none.test")
	if len(list) != 1 {
		t.Fatalf("list of one mailbox: %v", list)
	}
	got := list[0]
	if since := time.Since(got.First); since < 0 || since > time.Minute || got.Until.Sub(got.First) != 48*time.Hour {
		t.Errorf("times of %+v", got)
	}
	got.First, got.Last, got.Until = time.Time{}, time.Time{}, time.Time{}
	want := daemontest.Triplet{Identity: "198.51.100.0/24", From: "a@none.test", To: "alice@mx.test", Client: other, Suspicion: "rdns-missing", State: "waiting", Attempts: 1}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for what, n := range map[string]int{
		"": 3, from: 2, "192.0.2.0/25": 2, "none.test": 1, "test": 3, "alice@mx.test": 2, "A@NONE.test": 1, "nobody@mx.test": 0,
	} {
		words := []string{"greylist", "list"}
		if what != "" {
			words = append(words, what)
		}
		if list := daemontest.DecodeJSON[[]daemontest.Triplet](t, d, words...); len(list) != n {
			t.Errorf("greylist list %q: %d triplets, want %d", what, len(list), n)
		}
	}
	if list := daemontest.DecodeJSON[[]daemontest.Triplet](t, d, "greylist", "list", "--max", "2"); len(list) != 2 {
		t.Errorf("--max 2: %d triplets", len(list))
	}
}

// testGreylistAllow tests that an allowed client does not wait, and another client does.
func testGreylistAllow(t *testing.T, d *daemontest.Daemon) {
	daemontest.WantRow(t, d.MustRun(t, "greylist", "allow", "192.0.2.0/24"), "192.0.2.0/24", "0", "yes")
	d.MustAccept(t, from, daemontest.GoodSender, "alice@mx.test")
	d.MustAccept(t, "192.0.2.77", "new@none.test", "bob@mx.test")
	d.MustRefuse(t, other, "a@none.test", "alice@mx.test", "451 4.7.1 greylisted", "")
	shown := d.MustRun(t, "greylist", "show", from)
	daemontest.WantRow(t, shown, "passed", "192.0.2.0/24", from, "<alice@mx.test>")
	daemontest.WantRow(t, shown, "waiting", "192.0.2.0/24", from, "<bob@mx.test>")
	s := daemontest.DecodeJSON[daemontest.GreylistSelection](t, d, "greylist", "show", "192.0.2.0/24")
	if len(s.Triplets) != 3 || len(s.Clients) != 1 || !s.Clients[0].Allowed || s.Clients[0].Identity != "192.0.2.0/24" {
		t.Errorf("greylist show: %+v", s)
	}
	if c := daemontest.DecodeJSON[daemontest.GreylistClient](t, d, "greylist", "allow", other); c.Identity != other || !c.Allowed {
		t.Errorf("greylist allow: %+v", c)
	}
	d.MustAccept(t, other, "a@none.test", "alice@mx.test")
}

// testGreylistForget tests that a forgotten triplet waits for the whole delay, and another one is still known.
func testGreylistForget(t *testing.T, d *daemontest.Daemon) {
	if out := d.MustRun(t, "greylist", "forget", "192.0.2.0/24", "--yes"); out != "4 records removed\n" {
		t.Errorf("forget: %q", out)
	}
	d.MustRefuse(t, from, daemontest.GoodSender, "alice@mx.test", "451 4.7.1 greylisted for 180 s more", "")
	if r := d.Command(t, "greylist", "forget", "nobody@mx.test"); r.Code != 1 || !strings.Contains(r.Stderr, "knows nothing of nobody@mx.test") {
		t.Errorf("forget an unknown recipient: %+v", r)
	}
	d.MustAccept(t, other, "a@none.test", "alice@mx.test")
}
