package sockets

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"milterd/cmd/milterd/internal/config"
)

// TestUnreachableSocket tests on a machine with Postfix, whose account is in the groups 7 and 8, which sockets it cannot open.
func TestUnreachableSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open, closed := filepath.Join(dir, "open"), filepath.Join(dir, "closed")
	for path, mode := range map[string]os.FileMode{open: 0o755, closed: 0o700} {
		if err := os.Mkdir(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	master, chroot, sendmail := filepath.Join(dir, "master.cf"), filepath.Join(dir, "chroot.cf"), filepath.Join(dir, "sendmail.cf")
	for path, text := range map[string]string{master: "# service type\nsmtp inet n - n - - smtpd\n", chroot: "smtp inet n - y - - smtpd\n  -o x=y\n", sendmail: ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host := func(change func(*mailHost)) mailHost {
		h := mailHost{
			postfixGroups: []int{7, 8}, daemonGroup: 9,
			sendmailCF: filepath.Join(dir, "none"), masterCF: master, queue: filepath.Join(dir, "queue"),
		}
		change(&h)
		return h
	}
	same := func(*mailHost) {}
	unix := func(path string) config.Listener { return config.Listener{Network: "unix", Address: path} }
	with := func(l config.Listener, mode os.FileMode, group string) config.Listener {
		l.Mode, l.Group = mode, group
		return l
	}
	for _, c := range []struct {
		name string
		l    config.Listener
		h    mailHost
		want string // is part of the reason; empty: it can be reached
	}{
		{name: "TCP", l: config.Listener{Network: "tcp4", Address: "127.0.0.1:8891"}, h: host(same)},
		{name: "group of the daemon", l: unix(open + "/s"), h: host(same), want: "group: postfix"},
		{name: "group of Postfix", l: with(unix(open+"/s"), 0, "7"), h: host(same)},
		{name: "a daemon in a group of Postfix", l: unix(open + "/s"), h: host(func(h *mailHost) { h.daemonGroup = 8 })},
		{name: "another group", l: with(unix(open+"/s"), 0, "10"), h: host(same), want: "may not write"},
		{name: "mode for everybody", l: with(unix(open+"/s"), 0o666, ""), h: host(same)},
		{name: "mode for the owner", l: with(unix(open+"/s"), 0o600, "7"), h: host(same), want: "may not write"},
		{name: "closed folder", l: with(unix(closed+"/s"), 0o666, ""), h: host(same), want: "may not enter " + closed},
		{name: "chroot", l: with(unix(open+"/s"), 0, "7"), h: host(func(h *mailHost) { h.masterCF = chroot }), want: "chroot"},
		{name: "socket in the chroot", l: with(unix(dir+"/queue/s"), 0, "7"), h: host(func(h *mailHost) { h.masterCF = chroot })},
		{name: "Sendmail", l: unix(open + "/s"), h: host(func(h *mailHost) { h.sendmailCF = sendmail })},
		{name: "no Postfix", l: unix(open + "/s"), h: host(func(h *mailHost) { h.postfixGroups = nil })},
	} {
		if got := c.h.unreachable(c.l); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
