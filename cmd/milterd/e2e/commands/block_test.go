package commands

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
)

func TestBlockCommands(t *testing.T) {
	t.Parallel()
	d, _ := daemontest.StartWithSocket(t, nil, "")
	if out := d.MustRun(t, "block", "list"); out != "no blocks\n" {
		t.Errorf("empty list: %q", out)
	}
	if list := daemontest.DecodeJSON[[]daemontest.BlockedClient](t, d, "block", "list"); len(list) != 0 {
		t.Errorf("empty list: %v", list)
	}
	d.MustAccept(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test")
	added := d.MustRun(t, "block", "add", daemontest.GoodClient, "--for", "2h", "--why", "the spam run of today")
	daemontest.WantRow(t, added, daemontest.GoodClient, "by", "hand", "yes", "the", "spam", "run", "of", "today")
	r := d.MustRefuse(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test", "450 4.7.1 127.0.0.10 is blocked until 20", "for the spam run of today")
	m := daemontest.BlockedUntil.FindStringSubmatch(r)
	if until, err := time.Parse("2006-01-02 15:04 MST", m[1]); err != nil || time.Until(until).Round(10*time.Minute) != 2*time.Hour {
		t.Errorf("%q, want two hours: %v", r, err)
	}
	d.MustAccept(t, daemontest.GoodClient, daemontest.GoodSender, "postmaster@mx.test")

	// The list has clients that exceeded a limit too.
	if r := d.GuessRecipients(t, "192.0.2.9", daemontest.Limit+1); !strings.HasPrefix(r, "450 4.7.1 192.0.2.9 named too many") {
		t.Errorf("guessing client: %q", r)
	}
	six := daemontest.DecodeJSON[daemontest.BlockedClient](t, d, "block", "add", "2001:db8::7")
	if six.Client.String() != "2001:db8::/64" || !six.InForce || six.Level != 0 || six.Why == "" || six.Until.Sub(six.Since) != time.Hour {
		t.Errorf("block of an IPv6 address: %+v", six)
	}
	d.MustRefuse(t, "2001:db8::99", "a@six.test", "alice@mx.test", "450 4.7.1 2001:db8::/64 is blocked until", "")
	list := daemontest.DecodeJSON[[]daemontest.BlockedClient](t, d, "block", "list")
	var names []string
	for _, b := range list {
		names = append(names, fmt.Sprintf("%s %d %s", b.Client, b.Level, b.Why))
	}
	slices.Sort(names)
	if want := []string{
		"127.0.0.10/32 0 the spam run of today", "192.0.2.9/32 1 too many unknown recipients", "2001:db8::/64 0 administrative reasons",
	}; !slices.Equal(names, want) {
		t.Errorf("block list: %q, want %q", names, want)
	}
	daemontest.WantRow(t, d.MustRun(t, "block", "list"), "192.0.2.9", "1", "yes", "too", "many", "unknown", "recipients")

	if out := d.MustRun(t, "block", "remove", daemontest.GoodClient); out != "1 block removed\n" {
		t.Errorf("block remove: %q", out)
	}
	if r := d.Command(t, "block", "remove", daemontest.GoodClient); r.Code == 0 || !strings.Contains(r.Stderr, daemontest.GoodClient+" was not blocked") {
		t.Errorf("second block remove: %+v", r)
	}
	if got := daemontest.DecodeJSON[removal](t, d, "block", "remove", "2001:db8::1234"); got.Removed != 1 {
		t.Error("block remove found no block of the /64")
	}
	d.MustAccept(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test")
	d.MustAccept(t, "2001:db8::7", "a@six.test", "alice@mx.test")
}

// removal is the JSON output of commands that remove something.
type removal struct {
	Removed int `json:"removed"`
}
