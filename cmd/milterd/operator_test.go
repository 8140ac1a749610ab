package main

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"milterd/checks/counters"
	"milterd/checks/greylist"
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
	state, err := counters.Show(ctx, d.store, netip.MustParsePrefix("192.0.2.9/32"), time.Now())
	if err != nil || state.Block == nil || state.Block.Why != "the run of today" || time.Until(state.Block.Until) < 3*time.Hour {
		t.Errorf("%+v, %v", state, err)
	}
	send("/blocks", "2001:db8::/64 is blocked until", "do", "add", "client", "2001:db8::1", "for", "30d")
	if n := blocked(); n != 2 {
		t.Errorf("%d blocks", n)
	}
	send("/blocks", `"192.0.2.x" is no address`, "do", "add", "client", "192.0.2.x", "for", "1h")
	send("/blocks", "Nothing was changed", "do", "add", "client", "192.0.2.1", "for", "-1h")
	send("/blocks", "Nothing was changed", "do", "add", "client", "192.0.2.0/24", "for", "1h")
	send("/blocks", "The block of 192.0.2.9 is lifted", "do", "lift", "client", "192.0.2.9")
	send("/blocks", "The block of 2001:db8::/64 is lifted", "do", "lift", "client", "2001:db8::/64")
	send("/blocks", "192.0.2.9 was not blocked", "do", "lift", "client", "192.0.2.9")
	if n := blocked(); n != 0 {
		t.Errorf("%d blocks", n)
	}

	send("/greylist", "example.com is allowed", "do", "allow", "client", "example.com")
	send("/greylist", "192.0.2.0/24 is allowed", "do", "allow", "client", "192.0.2.0/24")
	send("/greylist", "Nothing was changed", "do", "allow", "client", "192.0.2.0/20")
	if s, err := greylist.Show(ctx, d.store, time.Now(), ""); err != nil || len(s.Clients) != 2 || !s.Clients[0].Allowed {
		t.Errorf("%+v, %v", s, err)
	}
	send("/greylist?what=example.com", "Entries of example.com deleted: 1.", "do", "forget", "client", "example.com")
	if s, err := greylist.Show(ctx, d.store, time.Now(), ""); err != nil || len(s.Clients) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, body := fetch(t, "GET", address+"/greylist", nil, nil); !strings.Contains(body, "192.0.2.0/24") || strings.Contains(body, "example.com") {
		t.Error(body)
	}
}
