package counters_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/counters"
)

func TestBlockShowUnblock(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newSite(t, change{})
	c := h.connect(someone)
	c.deliver()
	c.fail(3)
	c.quit()
	if errors, deliveries := h.counted(someone); errors != 3 || deliveries != 1 {
		t.Errorf("counted: %d errors, %d deliveries", errors, deliveries)
	}
	h.connect(someone).guess(11)
	by, err := counters.Block(ctx, h.store, netip.MustParsePrefix("2001:db8::7/128"), *h.now, 30*time.Minute, "the spam run\nof today")
	if err != nil || by.Client.String() != "2001:db8::/64" || by.Level != 0 || !by.InForce || by.Why != "the spam run of today" {
		t.Errorf("by hand: %+v, %v", by, err)
	}
	want(t, "by hand", h.once("2001:db8::1"), isBlocked)
	var got []string
	for _, b := range h.blocks() {
		got = append(got, fmt.Sprint(b.Client, " ", b.Until.Format("15:04"), " ", b.Level, " ", b.InForce, " ", b.Why))
	}
	want(t, "list", strings.Join(got, "; "),
		"2001:db8::/64 12:30 0 true the spam run of today; 192.0.2.9/32 13:00 1 false too many unknown recipients")
	want(t, "the limit", h.once(someone), isBlocked)
	if b, err := counters.Covering(ctx, h.store, netip.MustParsePrefix("192.0.2.9/32"), *h.now); err != nil || b == nil || !b.InForce || h.level(someone) != 1 {
		t.Errorf("blocked: %+v, %v, level %d", b, err, h.level(someone))
	}
	for i, was := range []bool{true, false} {
		if ok, err := counters.Unblock(ctx, h.store, netip.MustParsePrefix("192.0.2.9/32"), "", *h.now); ok != was || err != nil {
			t.Errorf("unblock %d: %v, %v", i, ok, err)
		}
	}
	want(t, "unblocked", h.once(someone), "")
	if errors, _ := h.counted(someone); errors != 0 || h.level(someone) != 0 {
		t.Errorf("after Unblock: %d errors, level %d", errors, h.level(someone))
	}
	for _, wide := range []netip.Prefix{{}, netip.MustParsePrefix("192.0.0.0/7"), netip.MustParsePrefix("2001:db8::/31")} {
		_, err1 := counters.Block(ctx, h.store, wide, *h.now, time.Hour, "")
		_, err2 := counters.Unblock(ctx, h.store, wide, "", *h.now)
		if err1 == nil || err2 == nil {
			t.Errorf("%s was accepted", wide)
		}
	}
	if _, err := counters.Block(ctx, h.store, netip.MustParsePrefix("192.0.2.9/32"), *h.now, 0, ""); err == nil {
		t.Error("a block of no length was accepted")
	}
	h.store.Fail(errors.New("gone"))
	if _, err := counters.Blocks(ctx, h.store, *h.now); err == nil {
		t.Error("Blocks returned no error while the store failed")
	}
}

// TestRestore tests that a block which was ended and restored is as long as before, and that the next one is longer.
func TestRestore(t *testing.T) {
	t.Parallel()
	ctx, client := t.Context(), checks.ClientOf(netip.MustParseAddr(someone))
	h := newSite(t, change{})
	c := h.connect(someone)
	c.guess(11)
	want(t, "the limit", c.deliver(), badRecipients)
	before := h.blocks()
	if ok, err := counters.Unblock(ctx, h.store, client, "", *h.now); !ok || err != nil {
		t.Fatalf("unblock: %v, %v", ok, err)
	}
	if err := counters.Restore(ctx, h.store, before[0], *h.now); err != nil {
		t.Fatal(err)
	}
	if after := h.blocks(); !reflect.DeepEqual(after, before) {
		t.Errorf("got %+v, want %+v", after, before)
	}
	h.wait(time.Hour)
	c = h.connect(someone)
	c.guess(11)
	want(t, "the limit again", c.deliver(), badRecipients)
	if list := h.blocks(); len(list) != 1 || list[0].Level != 2 {
		t.Errorf("the next block: %+v", list)
	}
}

// TestBrokenRecord tests that a record that cannot be read is an error and refuses nothing.
func TestBrokenRecord(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, value := range []string{"", "x", "{}", `{"v":2}`, `{"v":1}`, `{"v":1,"spans":[]}`} {
		h := newSite(t, change{})
		if err := h.store.Put(ctx, "counters:block:192.0.2.9/32", []byte(value), time.Hour); err != nil {
			t.Fatal(err)
		}
		want(t, value, h.once(someone), "")
		if _, err := counters.Blocks(ctx, h.store, *h.now); err == nil {
			t.Errorf("%s: no error", value)
		}
		if _, err := counters.Unblock(ctx, h.store, checks.ClientOf(netip.MustParseAddr(someone)), "", *h.now); err == nil {
			t.Errorf("%s: no error of Unblock", value)
		}
		if list := h.blocks(); len(list) > 0 {
			t.Errorf("%s: still there", value)
		}
	}
}

// TestOutage tests that a store that fails refuses nothing, and is logged once a minute.
func TestOutage(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	c := h.connect(someone)
	c.guess(9)
	h.store.Fail(errors.New("gone"))
	c.guess(20)
	c.fail(50)
	c.giveUp(20)
	want(t, "the outage", c.deliver(), "")
	if n := strings.Count(h.log.String(), "could not count"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, h.log)
	}
	h.wait(time.Minute)
	c.guess(5)
	if n := strings.Count(h.log.String(), "could not count"); n != 2 {
		t.Errorf("logged %d times a minute later", n)
	}
	d := h.connect(other)
	d.mail()
	d.s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("user@example.org")}}
	if got := d.run.Judge(context.Background(), checks.RcptTo); len(got.Failures) != 1 || got.Reply != nil {
		t.Errorf("a new connection: %+v", got)
	}
	h.store.Fail(nil)
	want(t, "after the outage", d.deliver(), "")
	c.guess(1)
	want(t, "violations during the outage", c.deliver(), badRecipients)
	want(t, "the next connection", h.once(someone), isBlocked)
}

// TestOutageAtTheRefusal tests that the refusal after an outage puts the block in force.
func TestOutageAtTheRefusal(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	c := h.connect(someone)
	c.guess(11)
	h.store.Fail(errors.New("gone"))
	want(t, "the limit is known", c.deliver(), badRecipients)
	h.store.Fail(nil)
	if h.blocks()[0].InForce {
		t.Error("the block is in force though the store failed")
	}
	want(t, "once more", c.deliver(), badRecipients)
	want(t, "the next connection", h.once(someone), isBlocked)
}
