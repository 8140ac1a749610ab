package access_test

import (
	"errors"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/access"
	"milterd/checks/checktest"
)

// judge returns the reasons for which a client is refused now, and whether it skips all checks.
func judge(t *testing.T, c checks.Check, client, from string) (ids []string, skips bool) {
	t.Helper()
	vs, err := checktest.Ask(t, access.Info, c, checktest.Session{Client: client, Helo: "mail.example.net", MailFrom: from}.Request(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vs {
		skips = skips || v.Vouch == checks.SkipAll
	}
	return checktest.IDs(vs), skips
}

// TestStoredEntries tests that an entry of the store holds for the next message of every host, until it ends or is removed.
func TestStoredEntries(t *testing.T) {
	t.Parallel()
	var clock checktest.Clock
	env := checktest.Env(t, "")
	store := checktest.NewStore(clock.Now)
	env.Store = store
	hosts := []checks.Check{checktest.Build[access.Settings](t, access.Info, env, nil), checktest.Build[access.Settings](t, access.Info, env, nil)}
	want := func(when, client string, denied, skips bool) {
		t.Helper()
		for i, c := range hosts {
			if ids, got := judge(t, c, client, "a@example.net"); len(ids) > 0 != denied || got != skips {
				t.Errorf("%s: host %d: %s: %q, skips %v", when, i, client, ids, got)
			}
		}
	}
	add := func(list, subject string, until time.Time) {
		t.Helper()
		if _, err := access.Add(t.Context(), store, clock.Now(), access.Entry{List: list, Entry: subject, Until: until, Why: "spam"}); err != nil {
			t.Fatal(err)
		}
		clock.Advance(time.Nanosecond)
	}
	want("before", "192.0.2.9", false, false)
	add("deny", "192.0.2.0/24", time.Time{})
	want("after deny", "192.0.2.9", true, false)
	vs, err := checktest.Ask(t, access.Info, hosts[0], checktest.Session{Client: "192.0.2.9"}.Request(t))
	if err != nil || len(vs) != 1 || vs[0].Detail["file"] != "milterd access" {
		t.Fatalf("got %+v, %v", vs, err)
	}
	if line, ok := vs[0].Detail["line"]; ok {
		t.Errorf("an entry of the store is in line %q", line)
	}
	add("allow", "192.0.2.9", clock.Now().Add(time.Hour))
	want("after allow", "192.0.2.9", false, true)
	want("after allow", "192.0.2.10", true, false)
	store.Fail(errors.New("down"))
	want("while the store is down", "192.0.2.10", true, false)
	store.Fail(nil)

	if network, err := access.Select(t.Context(), store, clock.Now(), "192.0.2.0/24"); err != nil || len(network) != 1 || network[0].List != "deny" {
		t.Errorf("a network with an entry: selected %+v, %v, want the entry without those in the network", network, err)
	}
	list, err := access.Select(t.Context(), store, clock.Now(), "192.0.2.0/23")
	if err != nil || len(list) != 2 || list[0].Entry != "192.0.2.9" || list[0].List != "allow" || list[1].Why != "spam" {
		t.Fatalf("selected %+v, %v", list, err)
	}
	if one, err := access.Select(t.Context(), store, clock.Now(), "192.0.2.9"); err != nil || len(one) != 1 {
		t.Errorf("selected %+v, %v", one, err)
	}
	if err := access.Remove(t.Context(), store, clock.Now(), list); err != nil {
		t.Fatal(err)
	}
	want("after remove", "192.0.2.9", false, false)
}

// TestStoreDownFromTheStart tests that nothing is certain while the entries of the store were never read: a client may be on
// the allow list.
func TestStoreDownFromTheStart(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, "")
	store := env.Store.(*checktest.Store)
	c := checktest.Build[access.Settings](t, access.Info, env, nil)
	if _, err := access.Add(t.Context(), store, checktest.Now, access.Entry{List: "allow", Entry: "192.0.2.9", Why: "partner"}); err != nil {
		t.Fatal(err)
	}
	store.Fail(errors.New("down"))
	r := checktest.Session{Client: "192.0.2.9", Helo: "mail.example.net", MailFrom: "a@example.net"}.Request(t)
	vs, err := checktest.Ask(t, access.Info, c, r)
	if err == nil || len(vs) != 1 || vs[0].Vouch != checks.SkipAll || !vs[0].Unsure {
		t.Errorf("while the store is down: got %+v, %v; want an unsure vouch and an error", vs, err)
	}
	store.Fail(nil)
	if ids, skips := judge(t, c, "192.0.2.9", "a@example.net"); len(ids) > 0 || !skips {
		t.Errorf("afterwards: got %q, skips %v", ids, skips)
	}
}

// TestEmptiedStore tests that an entry ends when the store has lost it: the operator does not see it any more and could not remove it.
func TestEmptiedStore(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, "")
	c := checktest.Build[access.Settings](t, access.Info, env, nil)
	if _, err := access.Add(t.Context(), env.Store, checktest.Now, access.Entry{List: "deny", Entry: "192.0.2.9"}); err != nil {
		t.Fatal(err)
	}
	if ids, _ := judge(t, c, "192.0.2.9", "a@example.net"); len(ids) != 1 {
		t.Errorf("before: %q", ids)
	}
	// Without the record of the last change alone, which a Redis without memory may have dropped, the entries stay in force.
	for _, lost := range []struct {
		prefix string
		denied int
	}{{"access:changed", 1}, {"", 0}} {
		for record, err := range env.Store.Scan(t.Context(), lost.prefix) {
			if err != nil || env.Store.Delete(t.Context(), record.Key) != nil {
				t.Fatal(err)
			}
		}
		if ids, _ := judge(t, c, "192.0.2.9", "a@example.net"); len(ids) != lost.denied {
			t.Errorf("without %q: %q", lost.prefix, ids)
		}
	}
}

// TestStoredEntryMistakes tests what cannot be added.
func TestStoredEntryMistakes(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(nil)
	for _, e := range []access.Entry{
		{Entry: "192.0.2.0/33"}, {Entry: "a b"}, {}, {Entry: "*.example.net"}, {List: "allow", Entry: ".com"},
		{Entry: "192.0.2.9", Until: checktest.Now.Add(-time.Hour)},
	} {
		_, err := access.Add(t.Context(), store, checktest.Now, e)
		if !errors.As(err, new(*checks.ArgumentError)) {
			t.Errorf("%+v: %v", e, err)
		}
	}
}

// TestLook tests which entries cover an address, a name or a sender.
func TestLook(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, "")
	c := checktest.Build[access.Settings](t, access.Info, env, nil)
	for _, e := range []access.Entry{
		{List: "deny", Entry: "192.0.2.0/24"}, {List: "allow", Entry: "192.0.2.9"}, {List: "deny", Entry: ".example.net"},
		{List: "deny", Entry: "@example.net"}, {List: "allow", Entry: "bob@example.org"},
	} {
		if _, err := access.Add(t.Context(), env.Store, checktest.Now, e); err != nil {
			t.Fatal(err)
		}
	}
	for subject, want := range map[string]int{
		"192.0.2.9": 2, "192.0.2.10": 1, "198.51.100.1": 0, "mail.example.net": 1, "example.net": 2, "a@example.net": 1, "bob@example.org": 1, "eve@example.org": 0, "?": 0,
	} {
		if got := c.(access.Looker).Look(t.Context(), checktest.Now, subject); len(got) != want {
			t.Errorf("%s: %+v, want %d", subject, got, want)
		}
	}
}

// TestStoredAddresses tests that an entry for an address holds, is shown and can be removed, whatever its local part.
func TestStoredAddresses(t *testing.T) {
	t.Parallel()
	for subject, sender := range map[string]string{
		"bob@example.net": "bob@example.net", "b..ob@example.net": "b..ob@example.net",
		`"b ob"@example.net`: `"B ob"@example.net`, `"b@ob"@example.net`: `"b@ob"@example.net`, `"b\"ob"@`: `"b\"ob"@example.net`,
	} {
		env := checktest.Env(t, "")
		c := checktest.Build[access.Settings](t, access.Info, env, nil)
		if _, err := access.Add(t.Context(), env.Store, checktest.Now, access.Entry{List: "deny", Entry: subject}); err != nil {
			t.Fatal(err)
		}
		if ids, _ := judge(t, c, "192.0.2.9", sender); len(ids) != 1 {
			t.Errorf("%s: %s is not denied", subject, sender)
		}
		if found := c.(access.Looker).Look(t.Context(), checktest.Now, sender); len(found) != 1 || found[0].Entry != subject {
			t.Errorf("%s: found %+v", subject, found)
		}
		list, err := access.Select(t.Context(), env.Store, checktest.Now, subject)
		if err != nil || len(list) != 1 || list[0].Entry != subject {
			t.Errorf("%s: selected %+v, %v", subject, list, err)
		}
		if err := access.Remove(t.Context(), env.Store, checktest.Now.Add(time.Second), list); err != nil {
			t.Fatal(err)
		}
		if ids, _ := judge(t, c, "192.0.2.9", sender); len(ids) != 0 {
			t.Errorf("%s: %s is denied after the removal", subject, sender)
		}
	}
}
