package greylist_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks/greylist"
)

// show returns what a word selects, as "state identity from to" and "client passes allowed".
func (w *site) show(t *testing.T, what string) []string {
	t.Helper()
	sel, err := greylist.Show(context.Background(), w.store, w.now, what)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, tr := range sel.Triplets {
		out = append(out, fmt.Sprintf("%s %s <%s> %s", tr.State, tr.Identity, tr.From, tr.To))
	}
	for _, c := range sel.Clients {
		out = append(out, fmt.Sprintf("%s passes=%d allowed=%v", c.Identity, c.Passes, c.Allowed))
	}
	slices.Sort(out)
	return out
}

// forget deletes what a word selects.
func (w *site) forget(t *testing.T, what string) greylist.Forgotten {
	t.Helper()
	sel, err := greylist.Show(context.Background(), w.store, w.now, what)
	if err != nil {
		t.Fatal(err)
	}
	forgotten, err := sel.Forget(context.Background(), w.store)
	if err != nil {
		t.Fatal(err)
	}
	return forgotten
}

func TestShowAndForget(t *testing.T) {
	t.Parallel()
	const (
		net    = "passed 192.0.2.0/24 <alice@example.net> bob@example.org"
		name   = "waiting example.net <bounce-#@lists.example.com> bob@example.org"
		bounce = "waiting 2001:db8::/64 <> carol@example.org"
		client = "192.0.2.0/24 passes=1 allowed=false"
	)
	for _, c := range []struct {
		what string
		want []string
	}{
		{"", []string{net, name, bounce, client}},
		{"192.0.2.99", []string{net, client}},
		{"192.0.2.0/24", []string{net, name, client}},
		{"2001:db8::1", []string{bounce}},
		{"example.net", []string{net, name}},
		{"example.com", []string{name}},
		{"ample.com", nil},
		{"Bob@example.org", []string{net, name}},
		{"alice@Example.NET", []string{net}},
		{"bounce-8@lists.example.com", []string{name}},
		{"example.org", nil},
	} {
		t.Run("show "+c.what, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			p := w.daemon(t)
			w.send(p, plain())
			w.now = w.now.Add(4 * time.Minute)
			w.send(p, plain())
			w.send(p, mail{client: "192.0.2.10", from: "bounce-1234@lists.example.com", to: []string{"bob@example.org"}})
			w.send(p, mail{client: "2001:db8::1", from: "<>", to: []string{"carol@example.org"}})
			slices.Sort(c.want)
			if got := w.show(t, c.what); !slices.Equal(got, c.want) {
				t.Fatalf("show: got %q, want %q", got, c.want)
			}
			forgotten := w.forget(t, c.what)
			if len(forgotten) != len(c.want) {
				t.Errorf("forgot %d, want %d", len(forgotten), len(c.want))
			}
			if left := w.show(t, ""); len(left) != 4-len(c.want) {
				t.Errorf("left %q", left)
			}
			if err := forgotten.Restore(context.Background(), w.store, w.now); err != nil {
				t.Error(err)
			}
			if all := w.show(t, ""); len(all) != 4 {
				t.Errorf("restored: %q", all)
			}
		})
	}
}

func TestAllow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, client string
		held, bad    bool
	}{
		{what: "192.0.2.99", client: "192.0.2.99"},
		{what: "192.0.2.99", client: "192.0.2.98", held: true},
		{what: "192.0.2.10", client: "192.0.2.10"},
		{what: "192.0.2.0/24", client: "192.0.2.99"},
		{what: "192.0.2.7/24", client: "192.0.2.10"},
		{what: "192.0.2.20/32", client: "192.0.2.20"},
		{what: "2001:db8::/64", client: "2001:db8::9"},
		{what: "Example.NET", client: "198.51.100.10"},
		{what: "example.net", client: "192.0.2.99", held: true},
		{what: "example.net 198.51.100.0/24", client: "198.51.100.10"},
		{what: "example.net 198.51.100.0/24", client: "192.0.2.10", held: true},
		{what: "Example.NET.  198.51.100.7/24", client: "198.51.100.10"},
		{what: "example.net 198.51.100.10", client: "198.51.100.10", held: true},
		{what: "example.net 198.51.0.0/16", bad: true},
		{what: "198.51.100.10 198.51.100.10", bad: true},
		{what: "Example.NET.", client: "198.51.100.10"},
		{what: "co.uk", bad: true},
		{what: "com.", bad: true},
		{what: "bücher.example", client: "192.0.2.99", held: true},
		{what: "mail1.example.net", client: "198.51.100.10", held: true},
		{what: "192.0.0.0/16", bad: true},
		{what: "2001:db8::/32", bad: true},
		{what: "alice@example.net", bad: true},
		{what: "localhost", bad: true},
		{what: "192.0.2.256", bad: true},
		{what: "example.net elsewhere", bad: true},
		{what: "", bad: true},
	} {
		t.Run(c.what+" "+c.client, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			got, err := greylist.Allow(context.Background(), w.store, w.now, c.what)
			if (err != nil) != c.bad || got.Allowed == c.bad {
				t.Fatalf("got %+v, %v", got, err)
			}
			if c.bad {
				return
			}
			w.now = w.now.Add(365 * 24 * time.Hour) // it lasts until it is removed
			m := with(func(m *mail) { m.client = c.client })
			wantHeld(t, "first", w.send(w.daemon(t), m), c.held)
			if len(w.forget(t, got.Identity)) == 0 {
				t.Error("nothing was forgotten")
			}
			m.from = "other@example.net"
			wantHeld(t, "after forget", w.send(w.daemon(t), m), true)
		})
	}
}

func TestListJSON(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	p := w.daemon(t)
	w.send(p, plain())
	w.now = w.now.Add(time.Minute)
	w.send(p, with(func(m *mail) { m.client = "192.0.2.98" }))
	const want = `{"identity":"192.0.2.0/24","from":"alice@example.net","to":"bob@example.org","client":"192.0.2.98",` +
		`"suspicion":"suspicious","state":"%s","attempts":%d,"first":"2026-11-21T12:00:00Z","last":"%s","back":"2026-11-21T12:01:00Z",%s}`
	wantJSON(t, w, fmt.Sprintf(want, "waiting", 2, "2026-11-21T12:01:00Z", `"until":"2026-11-23T12:00:00Z"`))
	w.now = w.now.Add(time.Hour)
	w.send(p, with(func(m *mail) { m.client = "192.0.2.98" }))
	wantJSON(t, w, fmt.Sprintf(want, "passed", 3, "2026-11-21T13:01:00Z", `"passed":"2026-11-21T13:01:00Z"`))
}

func wantJSON(t *testing.T, w *site, want string) {
	t.Helper()
	for tr, err := range greylist.List(context.Background(), w.store, w.now, "") {
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(tr)
		if err != nil {
			t.Fatal(err)
		}
		wantReply(t, "json", string(got), want)
	}
}

func TestOutageIsAnError(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	w.send(w.daemon(t), plain())
	ctx := context.Background()
	sel, err := greylist.Show(ctx, w.store, w.now, "")
	if err != nil || len(sel.Triplets) != 1 {
		t.Fatalf("%+v, %v", sel, err)
	}
	w.store.Fail(errOutage)
	_, errForget := sel.Forget(ctx, w.store)
	_, errShow := greylist.Show(ctx, w.store, w.now, "")
	_, errAllow := greylist.Allow(ctx, w.store, w.now, "192.0.2.9")
	_, errRetry := greylist.Retry(ctx, w.store, w.now)
	for i, err := range []error{errShow, errAllow, errForget, errRetry} {
		if err == nil {
			t.Errorf("%d: no error", i)
		}
	}
}

// TestSelections tests how many triplets a word selects; -1 stands for an error.
func TestSelections(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	w.send(w.daemon(t), plain())
	for what, want := range map[string]int{
		"": 1, "192.0.2.99": 1, "::ffff:192.0.2.99": 1, "192.0.2.0/24": 1, "alice@example.net": 1, "bob@example.org": 1, "Example.NET.": 1,
		"net": 1, "example.com": 0, "192.0.2.1": 0, "bücher.example": 0, "example.net 192.0.2.0/24": 0,
		"192.0.2.7/24": 1, "example.net 192.0.2.9": 0, "example.net 192.0.0.0/16": -1,
		"Bob@Example.org.": 1, `"bob"@example.org`: 1,
		"nonsense!!": -1, "192.0.2.0/33": -1, "192.0.2.256": 0, "a b c": -1, "@": -1, "<>": -1,
	} {
		got := 0
		for _, err := range greylist.List(context.Background(), w.store, w.now, what) {
			if err != nil {
				got = -1
				break
			}
			got++
		}
		if got != want {
			t.Errorf("%q selects %d, want %d", what, got, want)
		}
		if _, err := greylist.Show(context.Background(), w.store, w.now, what); (err != nil) != (want < 0) {
			t.Errorf("show %q: %v", what, err)
		}
	}
}

// TestRecipientWithUnicodeDomain tests that a recipient is selected by the domain as people write it.
func TestRecipientWithUnicodeDomain(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	w.send(w.daemon(t), with(func(m *mail) { m.to = []string{"bob@xn--bcher-kva.example"} }))
	if got := w.show(t, "Bob@bücher.example"); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

func TestAllowNamesTheOrganisationalDomain(t *testing.T) {
	t.Parallel()
	for what, hint := range map[string]bool{"mail1.example.net": true, "example.net": false, "192.0.2.9": false, "192.0.2.0/24": false} {
		w := newSite(t)
		c, err := greylist.Allow(context.Background(), w.store, w.now, what)
		if err != nil || (c.Note != "") != hint || hint && !strings.Contains(c.Note, "organisational domain, example.net") {
			t.Errorf("%s: %+v, %v", what, c, err)
		}
	}
}

// TestShowAndAllowAnIdentityAsShown tests that what Show returns for a client can be typed again.
func TestShowAndAllowAnIdentityAsShown(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]mail{
		"network":            {client: "192.0.2.99", from: "a@example.net"},
		"address":            {client: "192.0.2.20", from: "a@example.net"},
		"domain and network": {client: "192.0.2.10", from: "a@example.net"},
		"domain of SPF, and an address in a pool": {client: "192.0.2.20", from: "a@home.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			w := newSite(t)
			m.to = []string{"u@example.org"}
			wantHeld(t, "first", w.send(w.daemon(t), m), true)
			w.now = w.now.Add(4 * time.Minute)
			wantHeld(t, "retry", w.send(w.daemon(t), m), false)
			all, err := greylist.Show(ctx, w.store, w.now, "")
			if err != nil || len(all.Clients) != 1 {
				t.Fatalf("got %+v, %v, want one client", all, err)
			}
			identity := all.Clients[0].Identity
			if sel, err := greylist.Show(ctx, w.store, w.now, strings.ToUpper(identity)); err != nil || len(sel.Clients) != 1 {
				t.Errorf("show %q: got %+v, %v, want that client", identity, sel, err)
			}
			if c, err := greylist.Allow(ctx, w.store, w.now, identity); err != nil || c.Identity != identity {
				t.Errorf("allow %q: got %+v, %v", identity, c, err)
			}
		})
	}
}
