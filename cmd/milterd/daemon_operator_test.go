package main

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/counters"
	"milterd/checks/greylist"
	"milterd/cmd/milterd/internal/config"
)

// TestOperatorForms sends every form of the operator's pages and compares the store afterwards.
func TestOperatorForms(t *testing.T) {
	t.Parallel()
	d, address := serveOperatorPages(t, nil)
	ctx := t.Context()
	send := func(page, want string, fields ...string) {
		t.Helper()
		form := url.Values{}
		for i := 0; i < len(fields); i += 2 {
			form.Set(fields[i], fields[i+1])
		}
		if code, body := fetch(t, "POST", address+page, form, nil); code > 299 && code != 422 || !strings.Contains(body, want) {
			t.Errorf("%s %v: %d, no %q in %s", page, fields, code, want, body)
		}
	}
	blocked := func() int {
		t.Helper()
		list, err := counters.Blocks(ctx, d.store, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	send("/blocks", "192.0.2.9 is blocked until", "do", "add", "client", "192.0.2.9", "for", "4h", "why", "the run of today")
	block, err := counters.Covering(ctx, d.store, netip.MustParsePrefix("192.0.2.9/32"), time.Now())
	if err != nil || block == nil || block.Why != "the run of today" || time.Until(block.Until) < 3*time.Hour {
		t.Errorf("%+v, %v", block, err)
	}
	send("/blocks", "2001:db8::/64 is blocked until", "do", "add", "client", "2001:db8::1", "for", "30d")
	if n := blocked(); n != 2 {
		t.Errorf("%d blocks", n)
	}
	send("/blocks", `"192.0.2.x" is no address`, "do", "add", "client", "192.0.2.x", "for", "1h")
	send("/blocks", "Nothing was changed", "do", "add", "client", "192.0.2.1", "for", "-1h")
	send("/blocks", "Nothing was changed", "do", "add", "client", "16.0.0.0/7", "for", "1h")
	send("/blocks", "192.0.2.9: 1 block removed.", "do", "remove", "client", "192.0.2.9")
	send("/blocks", "2001:db8::/64: 1 block removed.", "do", "remove", "client", "2001:db8::/64")
	send("/blocks", "192.0.2.9 was not blocked", "do", "remove", "client", "192.0.2.9")
	if n := blocked(); n != 0 {
		t.Errorf("%d blocks", n)
	}

	send("/greylist", "example.com is allowed", "do", "allow", "client", "example.com")
	send("/greylist", "192.0.2.0/24 is allowed", "do", "allow", "client", "192.0.2.0/24")
	send("/greylist", "Nothing was changed", "do", "allow", "client", "192.0.2.0/20")
	if s, err := greylist.Show(ctx, d.store, time.Now(), ""); err != nil || len(s.Clients) != 2 || !s.Clients[0].Allowed {
		t.Errorf("%+v, %v", s, err)
	}
	send("/greylist?what=example.com", "example.com: 1 greylist record removed.", "do", "forget", "client", "example.com")
	if s, err := greylist.Show(ctx, d.store, time.Now(), ""); err != nil || len(s.Clients) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if r, err := d.forgetGreylist(ctx, removeArgs{What: " ", Many: true}); err == nil {
		t.Errorf("an empty selection was accepted: %+v", r)
	}
	if _, body := fetch(t, "GET", address+"/greylist", nil, nil); !strings.Contains(body, "192.0.2.0/24") || strings.Contains(body, "example.com") {
		t.Error(body)
	}
}

// TestDecisionForms sends the forms of the page of a decision, undoes each change, and compares what the commands show.
func TestDecisionForms(t *testing.T) {
	t.Parallel()
	d, address := serveOperatorPages(t, func(c *config.Config) { c.LocalDomains = []string{"example.org"} })
	d.cfg.Policy.Trusted.Networks = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	s := &checks.Session{ID: "s1", Time: time.Now(), Client: netip.MustParseAddr("203.0.113.9")}
	s.Envelope.MailFrom = checks.ParseAddress("ann@example.com")
	d.records.Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{Outcomes: []checks.Outcome{{Reason: missingPTR, Action: checks.Watch}}})
	page := address + "/session?id=s1&n=1"
	undo := regexp.MustCompile(`action="undo"><input type="hidden" name="note" value="([A-Z0-9]+)">`)
	body := ""
	send := func(code int, want string, fields ...string) {
		t.Helper()
		form := url.Values{}
		for i := 0; i < len(fields); i += 2 {
			form.Set(fields[i], fields[i+1])
		}
		var got int
		if got, body = fetch(t, "POST", page, form, nil); got != code || !strings.Contains(body, want) {
			t.Fatalf("%v: %d, no %q in %s", fields, got, want, body)
		}
	}
	back := func(want string) {
		t.Helper()
		m := undo.FindStringSubmatch(body)
		if m == nil {
			t.Fatalf("nothing to undo: %s", body)
		}
		if code, got := fetch(t, "POST", address+"/undo", url.Values{"note": {m[1]}}, nil); code != 200 || !strings.Contains(got, want) {
			t.Errorf("undo: %d, no %q in %s", code, want, got)
		}
	}
	lists := func(want string) {
		t.Helper()
		list, err := d.listAccess(t.Context(), accessArgs{})
		var got []string
		for _, e := range list {
			got = append(got, e.List+" "+e.Entry+" "+e.Why)
		}
		if strings.Join(got, ", ") != want || err != nil {
			t.Errorf("lists: %q, %v, want %q", got, err, want)
		}
	}
	blocked := func(want int) {
		t.Helper()
		if list, err := d.listBlocks(t.Context(), noArgs{}); len(list) != want || err != nil {
			t.Errorf("%d blocks, %v, want %d", len(list), err, want)
		}
	}
	send(200, "203.0.113.0/24 is on the deny list until", "do", "deny", "entry", "203.0.113.0/24", "until", "7d", "why", "first")
	send(200, "203.0.113.0/24 is on the deny list.", "do", "deny", "entry", "203.0.113.0/24", "why", "second")
	lists("deny 203.0.113.0/24 second")
	back("The previous entry is on the list again.")
	lists("deny 203.0.113.0/24 first")
	send(200, "203.0.113.9 is on the allow list", "do", "allow", "entry", "203.0.113.9")
	back("203.0.113.9 is not on the allow list any more.")
	send(200, "@example.com is on the deny list", "do", "deny", "entry", "@example.com")
	send(200, "203.0.113.9 is on the allow list", "do", "allow", "entry", "203.0.113.9")
	send(200, "@example.net is on the allow list. Note: this counts where SPF passes for the sender's domain", "do", "allow", "entry", "@example.net")
	back("@example.net is not on the allow list any more.")
	send(200, "203.0.113.0/24: 1 entry removed.", "do", "remove", "entry", "203.0.113.0/24")
	lists("allow 203.0.113.9 , deny @example.com ")
	back("203.0.113.0/24: 1 entry restored.")
	send(200, "203.0.112.0/23 is 2 entries. Nothing was removed yet.", "do", "remove", "entry", "203.0.112.0/23")
	lists("allow 203.0.113.9 , deny 203.0.113.0/24 first, deny @example.com ")
	send(200, "203.0.112.0/23: 2 entries removed.", "do", "remove", "entry", "203.0.112.0/23", "many", "yes")
	lists("deny @example.com ")
	back("203.0.112.0/23: 2 entries restored.")
	lists("allow 203.0.113.9 , deny 203.0.113.0/24 first, deny @example.com ")
	for entry, want := range map[string]string{
		"198.51.100.7": "is trusted", "@example.org": "is local", "127.0.0.1": "of this host", "nonsense!": "is not a network",
	} {
		send(422, want, "do", "deny", "entry", entry)
	}
	send(422, `"someday" is no date`, "do", "deny", "entry", "203.0.113.9", "until", "someday")

	for _, c := range []string{"203.0.113.9", "203.0.113.10"} {
		if _, err := d.addBlock(t.Context(), blockArgs{Client: c, For: time.Hour, Why: "a wave"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, got := fetch(t, "GET", page, nil, nil); !strings.Contains(got, "for a wave") || !strings.Contains(got, `aria-label="Remove the block of 203.0.113.9"`) {
		t.Errorf("the page does not show the block: %s", got)
	}
	send(200, "203.0.113.9: 1 block removed.", "do", "unblock", "entry", "203.0.113.9")
	blocked(1)
	back("203.0.113.9: 1 block restored.")
	blocked(2)
	send(200, "is 2 blocks. Nothing was removed yet.", "do", "unblock", "entry", "203.0.113.0/24")
	blocked(2)

	for _, c := range []string{"203.0.113.9", "203.0.113.0/24"} {
		if _, err := greylist.Allow(t.Context(), d.store, time.Now(), c); err != nil {
			t.Fatal(err)
		}
	}
	known := func(want int) {
		t.Helper()
		if s, err := greylist.Show(t.Context(), d.store, time.Now(), "203.0.113.0/24"); err != nil || len(s.Clients) != want {
			t.Errorf("%d known, %v, want %d", len(s.Clients), err, want)
		}
	}
	send(200, "Nothing was removed yet.", "do", "forget", "entry", "203.0.113.0/24")
	known(2)
	send(200, "203.0.113.0/24: 2 greylist records removed.", "do", "forget", "entry", "203.0.113.0/24", "many", "yes")
	known(0)
	back("2 greylist records restored.")
	known(2)
	send(422, "greylisting knows nothing of 192.0.2.77", "do", "forget", "entry", "192.0.2.77")
}
