package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestWhyInReplies tests that a block or a deny entry has no text that a reply cannot have. An allow entry has no reply.
func TestWhyInReplies(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	for why, fault := range map[string]string{
		"":                 "",
		"sends spam (42%)": "",
		"Müll":             `--why: 'ü' cannot be in a reply`,
		"a\r\n250 ok":      `--why: '\r' cannot be in a reply`,
		"a\x7f":            `--why: '\x7f' cannot be in a reply`,
	} {
		_, blocked := d.addBlock(t.Context(), blockArgs{Client: "192.0.2.9", For: time.Hour, Why: why})
		_, denied := d.addAccess(t.Context(), accessArgs{List: "deny", Entry: "192.0.2.9", Why: why})
		for _, err := range []error{blocked, denied} {
			if (err != nil) != (fault != "") || err != nil && !strings.HasPrefix(err.Error(), fault) {
				t.Errorf("%q: %v", why, err)
			}
		}
		if _, err := d.addAccess(t.Context(), accessArgs{List: "allow", Entry: "198.51.100.9", Why: why}); err != nil {
			t.Errorf("allow, %q: %v", why, err)
		}
	}
}

// TestMistypedLength tests that no block and no entry is made for a network with bits set after the network part.
func TestMistypedLength(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	for network, want := range map[string]string{
		"203.0.113.0/24":  "",
		"203.0.113.0/8":   `"203.0.113.0/8" has bits set after the network part; did you mean "203.0.0.0/8"?`,
		"203.0.113.7/24":  `did you mean "203.0.113.0/24"?`,
		"2001:db8:1::/32": `did you mean "2001:db8::/32"?`,
	} {
		_, blocked := d.addBlock(t.Context(), blockArgs{Client: network, For: time.Hour})
		_, denied := d.addAccess(t.Context(), accessArgs{List: "deny", Entry: network})
		_, allowed := d.addAccess(t.Context(), accessArgs{List: "allow", Entry: network})
		for command, err := range map[string]error{"block add": blocked, "access deny": denied, "access allow": allowed} {
			if (err != nil) != (want != "") || err != nil && !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%s %s: %v, want %q", command, network, err, want)
			}
		}
	}
}

// TestMappedNetwork tests that a block of an IPv4-mapped network is one of the IPv4 network, whose clients it refuses, and that it does
// not cover a trusted network.
func TestMappedNetwork(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	b, err := d.addBlock(t.Context(), blockArgs{Client: "::ffff:203.0.113.0/120", For: time.Hour})
	if err != nil || b.Client != netip.MustParsePrefix("203.0.113.0/24") {
		t.Errorf("%+v, %v", b, err)
	}
	if _, err := d.addBlock(t.Context(), blockArgs{Client: "::ffff:127.0.0.0/120", For: time.Hour}); err == nil {
		t.Error("a trusted network is blocked")
	}
	if done, err := d.removeBlock(t.Context(), removeArgs{What: "::ffff:203.0.113.0/120"}); err != nil || done.Removed != 1 {
		t.Errorf("removed: %+v, %v", done, err)
	}
}
