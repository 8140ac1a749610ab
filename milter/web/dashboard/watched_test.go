package dashboard

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestWatched tests the page with a reason of each verdict, and its order.
func TestWatched(t *testing.T) {
	t.Parallel()
	site := busySite(t)
	p := site.get("/watched")
	p.Has(t, "from 2026-10-12 to 2026-11-21", "This daemon lost the evidence of 7 transactions since its start.",
		"safe to enforce 1 not safe 1 too little seen yet 1 can only be watched 1",
		"rdns-missing now greylist safe to enforce none of these is a known good sender To enforce it, set actions: {rdns-missing: reject} 1 sender bank.example from 192.0.2.0/24 2 occasions",
		"2 200 occasions on 30 days 2026-10-22 to 2026-11-21 12 accepted, 900 refused for another reason 800 clients 0 also send clean mail, 0 pass SPF, 0 got mail from here",
		"helo-mismatch now watch not safe 13 of 1 412 occasions affect good senders 62 senders partner.example answered 12 occasions, last on 2026-11-20, passes SPF, 30 clean messages",
		"<> of relay.example delivers 1 occasion,", "More senders: milterd report watch --reason helo-mismatch",
		"too little seen yet 40 of 100 occasions, 7 of 20 clients, over 3 of 14 days",
		"A reason is safe to enforce after 100 occasions from 20 clients over 14 days or more, if at most one occasion in 1 000 affects",
		"1 watched reason without any occasion helo-cname",
		"spf-fail now reject 1 sender 1 sender partner.example", "900 refused, 0 greylisted", "rdns-missing now greylist none 0 refused, 300 greylisted", "4 of 290 greylisted senders came back")
	p.Lacks(t, "--reason rdns-missing", "--reason spf-fail")
	at := func(says string) int { return strings.Index(p.Text, says) }
	if at("now greylist safe") > at("now watch not safe") || at("now watch not safe") > at("now watch too little") || at("spf-fail now") > at("rdns-missing now greylist none") {
		t.Error("the reasons are not in order")
	}
	// Good senders are shown without a click, with links to their decisions.
	if body := p.Body.String(); strings.Count(body, "<details open>") != 2 || !strings.Contains(body, `href="refusals?sender=partner.example&amp;action=all"`) {
		t.Error(body)
	}
}

// TestWatchedTakesTooLong tests that the page names the commands if the reports take too long.
func TestWatchedTakesTooLong(t *testing.T) {
	t.Parallel()
	site := busySite(t)
	site.operator.hang = make(chan struct{})
	r := httptest.NewRequest("GET", "/watched", nil)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if p := site.do(r.WithContext(ctx)); p.Code != 503 || !strings.Contains(p.Text, "milterd report watch") && !strings.Contains(p.Text, "Too many pages") {
		t.Errorf("%d %s", p.Code, p.Text)
	}
}
