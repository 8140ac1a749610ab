package replay

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestResults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, config string
		letters      []letter
		want         string
	}{
		{"no reason", "", []letter{{}}, "1 messages, 1 judged, 0 unreadable, 0 refused:"},
		{"header fields", "", []letter{{date: "yesterday"}, {no: "Message-ID", at: time.Hour}},
			"2 messages, 2 judged, 0 unreadable, 1 refused: date-invalid reject 1 msgid-missing watch 1"},
		{"a date compared with the time of arrival", "actions: {date-past: reject}", []letter{{date: "Thu, 21 Nov 2024 12:00:00 +0000"}, {date: "Thu, 21 Nov 2024 12:00:00 +0000", at: 31 * 24 * time.Hour}},
			"2 messages, 2 judged, 0 unreadable, 1 refused: date-past reject 1"},
		{"HELO", "", []letter{{helo: "192.0.2.9"}}, "1 messages, 1 judged, 0 unreadable, 1 refused: helo-bare-ip reject 1"},
		{"SPF by the address of the client", "actions: {spf-fail: reject}", []letter{{from: "bob@example.com"}, {}},
			"2 messages, 2 judged, 0 unreadable, 1 refused: sender-no-domain tempfail 1"},
		{"quarantine and tag", "actions: {helo-bare-ip: quarantine, msgid-missing: tag}",
			[]letter{{helo: "192.0.2.9"}, {helo: "192.0.2.9", date: "yesterday"}, {no: "Message-ID"}, {helo: "192.0.2.9", no: "Message-ID"}},
			"4 messages, 4 judged, 0 unreadable, 1 refused, 2 quarantined: helo-bare-ip quarantine 3 date-invalid reject 1 msgid-missing tag 2"},
		{"a policy of a recipient", "policies: [{recipients: [amy@example.org], actions: {date-invalid: watch}}]",
			[]letter{{date: "x"}, {date: "x", to: "amy@example.org"}},
			"2 messages, 2 judged, 0 unreadable, 1 refused: date-invalid reject 2"},
		{"an exempt recipient", "", []letter{{helo: "192.0.2.9", to: "postmaster@example.org"}}, "1 messages, 1 judged, 0 unreadable, 0 refused:"},
		{"greylisted, retried too early, retried, known, forgotten", "actions: {first-contact: greylist}",
			[]letter{{}, {at: time.Minute}, {at: 10 * time.Minute}, {at: 20 * 24 * time.Hour}, {at: 90 * 24 * time.Hour}},
			"5 messages, 5 judged, 0 unreadable, 3 refused, 3 held: first-contact greylist 3 greylisted tempfail 3"},
		{"greylisting in the order of time", "actions: {first-contact: greylist}",
			[]letter{{at: 10 * time.Minute}, {}}, "2 messages, 2 judged, 0 unreadable, 1 refused, 1 held: first-contact greylist 1 greylisted tempfail 1"},
		{"greylisting without a time", "actions: {first-contact: greylist, date-past: reject}",
			[]letter{{no: "Received", date: "Thu, 21 Nov 1991 12:00:00 +0000"}}, "1 messages, 1 judged, 0 unreadable, 0 refused:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := replayed(t, Options{Paths: []string{mbox(t, c.letters...)}, Config: configOf(t, "a.yaml", c.config)})
			if got := jsonOf(t, r).line(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// elsewhere is the trace of a message that a host outside the site received.
func elsewhere(returnPath string) string {
	return returnPath + "Received: from mail.example.net (mail.example.net [192.0.2.9])\n\tby mx.example.com (Postfix) with ESMTP id 1A; " +
		noon.Format(time.RFC1123Z) + "\n"
}

// TestMailOfOtherHosts tests that dates are compared with the time at which another host received a message, and that
// only the null reverse-path makes it a bounce.
func TestMailOfOtherHosts(t *testing.T) {
	t.Parallel()
	old := "Date: Thu, 21 Nov 1991 12:00:00 +0000\nFrom: alice@example.net\nMessage-ID: <1@example.net>\n\n"
	noID := "Date: " + noon.Format(time.RFC1123Z) + "\nFrom: alice@example.net\n\n"
	for _, c := range []struct{ name, content, config, want string }{
		{"an old date", elsewhere("") + old, "actions: {date-past: reject}", "1 messages, 1 judged, 0 unreadable, 1 refused: date-past reject 1"},
		{"an old date, no time", old, "actions: {date-past: reject}", "1 messages, 1 judged, 0 unreadable, 0 refused:"},
		{"a bounce", elsewhere("Return-Path: <>\n") + noID, "profile: strict", "1 messages, 1 judged, 0 unreadable, 0 refused: msgid-missing watch 1"},
		{"no bounce", elsewhere("Return-Path: <alice@example.net>\n") + noID, "profile: strict", "1 messages, 1 judged, 0 unreadable, 1 refused: msgid-missing reject 1"},
		{"the reverse-path is not known", elsewhere("") + noID, "profile: strict", "1 messages, 1 judged, 0 unreadable, 1 refused: msgid-missing reject 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := replayed(t, Options{Paths: []string{file(t, "a.eml", c.content)}, Config: configOf(t, "a.yaml", c.config)})
			if got := jsonOf(t, r).line(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if noTime := strings.Contains(textOf(t, r), "1 without a time of arrival"); noTime != (c.content == old) {
				t.Errorf("without a time of arrival: %t", noTime)
			}
		})
	}
}

// TestSeveralActionsOfAReason tests that the messages of a reason are counted by what it does to them: strict refuses a message
// without Message-ID, and watches a bounce without it.
func TestSeveralActionsOfAReason(t *testing.T) {
	t.Parallel()
	noID := "Date: " + noon.Format(time.RFC1123Z) + "\nFrom: alice@example.net\n\n"
	paths := []string{file(t, "a.eml", elsewhere("Return-Path: <alice@example.net>\n")+noID)}
	for range 2 {
		paths = append(paths, file(t, "b.eml", elsewhere("Return-Path: <>\n")+noID))
	}
	r := replayed(t, Options{Paths: paths, Config: configOf(t, "a.yaml", "profile: strict")})
	j := jsonOf(t, r)
	got := j.Reasons["msgid-missing"]
	if want := map[string]int{"reject": 1, "watch": 2}; got.Action != "reject" || got.Count != 3 || !maps.Equal(got.Actions, want) || j.Refused != 1 {
		t.Errorf("%d refused, %+v", j.Refused, got)
	}
	if text := textOf(t, r); !strings.Contains(text, "msgid-missing (reject 1, watch 2): 3 messages") {
		t.Errorf("in the text: %s", text)
	}
	one := jsonOf(t, replayed(t, Options{Paths: paths[:1], Config: configOf(t, "a.yaml", "profile: strict")}))
	if actions := one.Reasons["msgid-missing"].Actions; actions != nil {
		t.Errorf("with one action: %v", actions)
	}
}

func TestTrustedMail(t *testing.T) {
	t.Parallel()
	submitted := file(t, "a.eml", "Received: by mx.example.org (Postfix, from userid 0) id 1; "+noon.Format(time.RFC1123Z)+"\nDate: nonsense\n\n")
	j := jsonOf(t, replayed(t, Options{Paths: []string{submitted}, Config: configOf(t, "a.yaml", "")}))
	if j.Messages != 1 || j.Trusted != 1 || j.Judged != 0 || j.Refused != 0 {
		t.Errorf("got %+v", j)
	}
}

func TestUnknownFacts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		l    letter
		want map[string]map[string]int
	}{
		{"no border host", letter{no: "Received"}, map[string]map[string]int{
			"rdns": {"client not known": 1}, "helo": {"client, HELO not known": 1}, "sender": {"client, sender not known": 1},
			"greylist": {"client, sender, recipient, time not known": 1}, "msgfields": {"time not known": 1},
		}},
		{"no reverse-path", letter{no: "Return-Path"}, map[string]map[string]int{
			"rdns": nil, "helo": nil, "spf": {"sender not known": 1}, "greylist": {"sender not known": 1}, "msgfields": nil,
		}},
		{"all", letter{}, map[string]map[string]int{"rdns": nil, "greylist": nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := replayed(t, Options{Paths: []string{mbox(t, c.l)}, Config: configOf(t, "a.yaml", "")})
			got := jsonOf(t, r).NotJudged
			for check, want := range c.want {
				if !reflect.DeepEqual(got[check], want) {
					t.Errorf("%s: got %v, want %v", check, got[check], want)
				}
			}
		})
	}
}

func TestWithoutDNS(t *testing.T) {
	t.Parallel()
	strict := configOf(t, "a.yaml", "profile: strict\non_error: tempfail\nactions: {first-contact: off}")
	r := replayed(t, Options{Paths: []string{mbox(t, letter{}, letter{helo: "192.0.2.9"})}, Config: strict, DNS: NoDNS{}})
	j := jsonOf(t, r)
	if got, want := j.line(), "2 messages, 2 judged, 0 unreadable, 1 refused: helo-bare-ip reject 1"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, check := range []string{"rdns", "spf", "sender"} {
		if j.NotJudged[check][errNotAsked.Error()] == 0 {
			t.Errorf("%s: got %v", check, j.NotJudged[check])
		}
	}
}

func TestUnreadableMessages(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for name, content := range map[string]string{
		"binary.eml": "\x00\x01\x02", "empty.eml": "", "endless.eml": strings.Repeat("X: y\n", 1<<20),
		"good.eml": letter{date: "x"}.String(), "mbox": "From x " + noon.Format(time.ANSIC) + "\n" + letter{}.String(), "nothing": "",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := replayed(t, Options{Paths: []string{root, filepath.Join(root, "gone")}, Config: configOf(t, "a.yaml", "")})
	if got, want := jsonOf(t, r).line(), "6 messages, 2 judged, 4 unreadable, 1 refused: date-invalid reject 1"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	text := textOf(t, r)
	for _, want := range []string{"binary.eml: does not begin", "empty.eml: empty", "endless.eml: header section over", "gone: no such file"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// many returns letters with many differences.
func many(n int) []letter {
	var out []letter
	for i := range n {
		l := letter{id: fmt.Sprintf("<%d@example.net>", i), at: time.Duration(i*7919%n) * time.Minute, to: fmt.Sprintf("u%d@example.org", i%5)}
		switch i % 11 {
		case 1:
			l.date = "never"
		case 2:
			l.helo = "pc"
		case 3:
			l.no = "Message-ID Return-Path"
		case 4:
			l.from = "nobody@example.com"
		case 5:
			l.no = "Received"
		}
		out = append(out, l)
	}
	return out
}

func TestOrderOfPathsDoesNotMatter(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	letters := many(200)
	for i, l := range letters[:100] {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("%03d.eml", i)), []byte(l.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	paths := []string{root, mbox(t, letters[100:150]...), mbox(t, letters[150:]...)}
	a, b := configOf(t, "a.yaml", "actions: {first-contact: greylist}"), configOf(t, "b.yaml", "profile: strict")
	var first string
	for range len(paths) {
		paths = append(paths[1:], paths[0])
		r := replayed(t, Options{Paths: paths, Config: a, Against: &b})
		r.Took = 0
		var out, html bytes.Buffer
		if err := r.JSON(&out); err != nil {
			t.Fatal(err)
		}
		if err := r.HTML(&html); err != nil {
			t.Fatal(err)
		}
		got := out.String() + textOf(t, r) + html.String()
		if first == "" {
			first = got
		} else if got != first {
			t.Errorf("in another order\n%.3000s\nwant\n%.3000s", got, first)
		}
	}
	if !strings.Contains(first, "greylisted (tempfail)") || !strings.Contains(first, "-> reject") {
		t.Errorf("nothing was refused or changed:\n%.3000s", first)
	}
}

// TestComparedResults tests that each of two configurations has the results that it has alone.
func TestComparedResults(t *testing.T) {
	t.Parallel()
	letters := many(30)
	for i := range letters {
		if i%3 == 0 {
			letters[i].relay = time.Duration(i%2+1) * time.Second
		}
	}
	path := mbox(t, letters...)
	configs := []string{
		"actions: {first-contact: greylist}\n", trustsRelay, "actions: {first-contact: greylist}\n" + trustsRelay, "trusted: {networks: [127.0.0.0/8, 192.0.2.0/24]}\n",
		"trusted: {networks: []}\n", "hostname: relay.example.net\nlocal_domains: []\n", "local_domains: [example.net, example.org]\nhostname: mx.example.com\n",
	}
	type sums struct{ refused, rejected, trusted int }
	var alone []sums
	for _, text := range configs {
		r := replayed(t, Options{Paths: []string{path}, Config: configOf(t, "a.yaml", text)})
		alone = append(alone, sums{r.Refused, r.Rejected, r.Trusted})
	}
	for i, old := range configs {
		for j, new := range configs {
			against := configOf(t, "b.yaml", new)
			r := replayed(t, Options{Paths: []string{path}, Config: configOf(t, "a.yaml", old), Against: &against})
			if got := (sums{r.Refused, r.Rejected, r.Trusted}); got != alone[i] {
				t.Errorf("%s, compared with %s: got %+v, alone %+v", old, new, got, alone[i])
			}
			if got := (sums{r.changes.refused, r.changes.rejected, r.changes.trusted}); got != alone[j] {
				t.Errorf("%s, compared with: got %+v of %s, alone %+v", old, got, new, alone[j])
			}
		}
	}
	slices.SortFunc(alone, func(a, b sums) int { return cmp.Compare(a.refused*1000+a.trusted, b.refused*1000+b.trusted) })
	if n := len(slices.Compact(alone)); n < 5 {
		t.Errorf("the configurations have the same results: %v", alone)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	path := mbox(t, many(50)...)
	cfg := configOf(t, "a.yaml", "")
	t.Run("while reading", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := Run(ctx, Options{
			Paths: []string{path}, Config: cfg, DNS: NoDNS{}, Now: noon,
			Progress: func(p Progress) {
				if p.Read == 10 {
					cancel()
				}
			},
			Judging: func(context.Context) context.Context { return context.Background() },
		})
		if err != nil {
			t.Fatal(err)
		}
		if j := jsonOf(t, r); !j.Interrupted || j.Judged < 10 || j.Judged >= 50 {
			t.Errorf("got %+v", j)
		}
	})
	t.Run("while judging", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := Run(ctx, Options{
			Paths: []string{path}, Config: cfg, DNS: dnsOf(t, zoneText), Now: noon,
			Progress: func(p Progress) {
				if p.Judged == 10 {
					cancel()
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		j := jsonOf(t, r)
		if !j.Interrupted || j.Judged != 10 || !strings.Contains(textOf(t, r), "INTERRUPTED") {
			t.Errorf("got %+v", j)
		}
	})
}

func TestHostsWithoutBorder(t *testing.T) {
	t.Parallel()
	other := file(t, "a.eml", "Received: from a (b [192.0.2.9]) by mx.example.com (Postfix) with ESMTP id 1; "+noon.Format(time.RFC1123Z)+"\nDate: x\n\n")
	text := textOf(t, replayed(t, Options{Paths: []string{other}, Config: configOf(t, "a.yaml", "")}))
	if !strings.Contains(text, "1 message without a Received field of a host of this site; their topmost ones are by\n  mx.example.com 1\n") {
		t.Errorf("got\n%s", text)
	}
}

func TestHostileValues(t *testing.T) {
	t.Parallel()
	evil := letter{id: "<\x1b[2J@x>", date: "\x1b]0;x\x07", from: "<script>alert(1)</script>@example.net"}
	r := replayed(t, Options{Paths: []string{mbox(t, evil)}, Config: configOf(t, "a.yaml", "")})
	if text := textOf(t, r); strings.ContainsAny(text, "\x1b\x07") {
		t.Errorf("got %q", text)
	}
	var page bytes.Buffer
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(page.String(), "<script") {
		t.Errorf("got %s", page.String())
	}
}
