package commands

import (
	"os/exec"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
)

// TestAccessCommand denies and allows clients and senders of a running daemon, and removes the entries again.
func TestAccessCommand(t *testing.T) {
	t.Parallel()
	d, socket := daemontest.StartWithSocket(t, daemontest.OnlyReason("client-denied", "reject"), "")
	refused := func(want bool) {
		t.Helper()
		if outcome := d.Play(t, daemontest.GoodSession()); (outcome.Event != 0) != want {
			t.Errorf("refused at %c, want a refusal: %v", outcome.Event, want)
		}
	}
	refused(false)
	out := d.MustRun(t, "access", "deny", "127.0.0.10", "--for", "2h", "--why", "spam")
	daemontest.WantRow(t, out, "deny", "127.0.0.10", "store", "spam")
	refused(true)
	d.MustRun(t, "access", "allow", "127.0.0.0/24")
	refused(false)
	out = d.MustRun(t, "access", "deny", "127.0.0.10", "--why", "spam")
	if !strings.Contains(out, "this has no effect while 127.0.0.0/24 is allowed") {
		t.Errorf("deny under allow: %s", out)
	}
	out = d.MustRun(t, "access", "list", "127.0.0.10")
	daemontest.WantRow(t, out, "allow", "127.0.0.0/24")
	daemontest.WantRow(t, out, "deny", "127.0.0.10")

	// A network with two entries in it and none of its own: the command asks.
	r := d.Command(t, "access", "remove", "127.0.0.0/23")
	if r.Code != 1 || !strings.Contains(r.Stderr, "2 entries are in 127.0.0.0/23. Remove all of them? [y/N]") || !strings.Contains(r.Stderr, "nothing was removed") {
		t.Errorf("remove without an answer: %+v", r)
	}
	cmd := exec.Command(daemontest.Binary(t), "access", "remove", "127.0.0.0/23", "--socket", socket)
	cmd.Stdin, cmd.Env = strings.NewReader("y\n"), daemontest.CommandEnv()
	if text, err := cmd.Output(); err != nil || string(text) != "2 entries removed\n" {
		t.Errorf("remove with yes: %s, %v", text, err)
	}
	refused(false)
	if out := d.MustRun(t, "access", "list"); out != "no entries\n" {
		t.Errorf("after remove: %s", out)
	}
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"access remove 127.0.0.10":                  {1, "127.0.0.10 is on no list"},
		"access deny 127.0.0.1":                     {1, "127.0.0.1 is an address of this host"},
		"access deny 0.0.0.0/0":                     {1, "0.0.0.0/0 has the address"},
		"access deny @mx.test":                      {1, "@mx.test is local"},
		"access deny mx.test":                       {1, "is local"},
		"access deny 192.0.2.9 --until soon":        {2, "is no date and no duration"},
		"access deny 192.0.2.9 --until 2020-01-01":  {2, "has passed"},
		"access deny 192.0.2.9 --for 1h --until 2d": {2, "cannot be used together"},
		"block add 127.0.0.1":                       {1, "127.0.0.1 is an address of this host"},
		"block add 16.0.0.0/7":                      {2, "too wide"},
		"log --reason helo-mismach":                 {2, "did you mean helo-mismatch?"},
		"log --action rejected":                     {2, "did you mean reject?"},
		"log --client 192.0.2.0/33":                 {2, "neither an address nor a network"},
		"greylist show 192.0.2.9":                   {1, "knows nothing of 192.0.2.9"},
		"greylist forget 192.0.2.9":                 {1, "knows nothing of 192.0.2.9"},
	} {
		if r := d.Command(t, strings.Split(line, " ")...); r.Code != want.code || !strings.Contains(r.Stderr, want.text) {
			t.Errorf("milterd %s: %+v, want %+v", line, r, want)
		}
	}

	if out := d.MustRun(t, "access", "deny", "foo"); !strings.Contains(out, "Note: this is about hosts named foo, without a domain; for senders write user@domain") {
		t.Errorf("access deny foo: %s", out)
	}
	d.MustRun(t, "access", "remove", "foo")
	if out := d.MustRun(t, "access", "deny", ".com"); !strings.Contains(out, "Note: this refuses every domain below the public suffix com; to undo it: milterd access remove .com") {
		t.Errorf("access deny .com: %s", out)
	}
	d.MustRun(t, "access", "remove", ".com")

	d.MustRun(t, "block", "add", "127.0.0.8/29", "--until", "1h", "--why", "a wave")
	daemontest.WantRow(t, d.MustRun(t, "block", "list"), "127.0.0.8/29", "by", "hand", "yes", "a", "wave")
	d.MustRun(t, "block", "add", "127.0.0.10")
	if r := d.Command(t, "block", "remove", "127.0.0.8/29"); r.Code != 1 || !strings.Contains(r.Stderr, "2 blocks are in 127.0.0.8/29") {
		t.Errorf("got %+v", r)
	}
	if out := d.MustRun(t, "block", "remove", "127.0.0.8/29", "--yes"); out != "2 blocks removed\n" {
		t.Errorf("got %s", out)
	}
}
