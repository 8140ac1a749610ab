package dmarc_test

import (
	"strings"
	"testing"

	"milterd/checks/checktest"
	"milterd/checks/dmarc"
)

// TestListID tests which List-Id fields show the list that sends a message.
func TestListID(t *testing.T) {
	t.Parallel()
	const first = "List-Id: <first.free.example>\n"
	for _, c := range []struct{ name, ids, want string }{
		{"a domain", "List-Id: <talk.list.example>\n", "dmarc-list"},
		{"a label that no domain has", "List-Id: The library <libstdc++.list.example>\n", "dmarc-list"},
		{"a label of 70 bytes", "List-Id: <" + strings.Repeat("x", 70) + ".list.example>\n", "dmarc-list"},
		{"no domain at the end", "List-Id: <talk.list.example+>\n", "dmarc-reject"},
		{"over 255 bytes", "List-Id: <" + strings.Repeat("+.", 128) + "list.example>\n", "dmarc-reject"},
		{"a list that left the field of an earlier one", "List-Id: <talk.list.example>\n" + first, "dmarc-list"},
		{"a list that wrote its field below that of an earlier one", first + "List-Id: <talk.list.example>\n", "dmarc-list"},
		{"a list after five others", strings.Repeat(first, 5) + "List-Id: <talk.list.example>\n", "dmarc-reject"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := environment(t, senders{})
			check := checktest.Build[dmarc.Settings](t, dmarc.Info, env, nil)
			m := message{client: "192.0.2.50", from: "b@list.example", header: c.ids + "List-Post: <mailto:talk@list.example>\nFrom: a@bank.example\n"}
			vs, err := checktest.Ask(t, dmarc.Info, check, m.request(t, env))
			if got := strings.Join(checktest.IDs(vs), " "); got != c.want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// TestGoodListBesideAnother tests that a list that is a good sender counts before another one that identifiers show too.
func TestGoodListBesideAnother(t *testing.T) {
	t.Parallel()
	const good, other = "List-Id: <talk.list.example>\n", "List-Id: <first.free.example>\n"
	for name, ids := range map[string]string{"above": good + other, "below": other + good} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := environment(t, senders{good: []string{"list.example"}})
			check := checktest.Build[dmarc.Settings](t, dmarc.Info, env, nil)
			m := message{client: "192.0.2.50", from: "b@list.example", sign: "free.example",
				header: ids + "List-Post: <mailto:talk@list.example>\nFrom: a@bank.example\n"}
			checktest.Want(t, dmarc.Info, check, m.request(t, env), "dmarc-indirect", false)
		})
	}
}
