package replay

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// logLine is a line of milterd's log about an attempt of a test.
func logLine(l letter, msg, more string) string {
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return s
	}
	return fmt.Sprintf("%s mx milterd[1]: level=info msg=%s session=%s queue_id=\"\" client=192.0.2.9 client_name=x helo=%s mail_from=%s rcpt=%s %s\n",
		noon.Add(l.at).Format(time.RFC3339), msg, or(l.id, "s1"), or(l.helo, "mail.example.com"), or(l.from, "alice@example.net"), or(l.to, "bob@example.org"), more)
}

func TestALogIsReplayed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, config, log, want string
	}{
		{"nothing to say", "", logLine(letter{}, "accept", "rcpts=1"), "1 messages, 1 judged, 0 unreadable, 0 refused:"},
		{"what was watched is now refused", "actions: {helo-mismatch: reject}",
			logLine(letter{helo: "mx.example.net"}, "watch", "stage=helo check=helo reason=helo-mismatch action=watch") + logLine(letter{helo: "mx.example.net"}, "accept", "rcpts=1"),
			"1 messages, 1 judged, 0 unreadable, 1 refused: helo-mismatch reject 1"},
		{"what was refused is now let in", "actions: {helo-bare-ip: off}",
			logLine(letter{helo: "192.0.2.9"}, "reject", "stage=helo check=helo reason=helo-bare-ip action=reject"), "1 messages, 1 judged, 0 unreadable, 0 refused:"},
		{"a client that said no HELO", "actions: {helo-missing: reject}",
			logLine(letter{helo: `""`}, "accept", "rcpts=1"), "1 messages, 1 judged, 0 unreadable, 1 refused: helo-missing reject 1"},
		{"retries are in a log", "actions: {first-contact: greylist}",
			logLine(letter{}, "greylist", "stage=rcpt check=greylist reason=first-contact action=greylist") + logLine(letter{}, "tempfail", "stage=rcpt check=greylist reason=greylisted action=tempfail") +
				logLine(letter{id: "s2", at: 10 * time.Minute}, "accept", "rcpts=1"),
			"2 messages, 2 judged, 0 unreadable, 1 refused: first-contact greylist 1 greylisted tempfail 1"},
		{"the null reverse-path, which is held at the end of the header", "actions: {first-contact: greylist}",
			logLine(letter{from: `""`}, "accept", "rcpts=1"), "1 messages, 1 judged, 0 unreadable, 1 refused: first-contact greylist 1 greylisted tempfail 1"},
		{"trusted", "", logLine(letter{helo: "192.0.2.9"}, "accept", "rcpts=1 trusted=true"), "1 messages, 0 judged, 0 unreadable, 0 refused:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := replayed(t, Options{Paths: []string{file(t, "mail.log", c.log)}, Config: configOf(t, "a.yaml", c.config)})
			got := jsonOf(t, r).line()
			if strings.HasPrefix(c.name, "what was refused") { // checks to come may have other words for it
				got = got[:min(len(got), len(c.want))]
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestWhatALogDoesNotTell(t *testing.T) {
	t.Parallel()
	path := file(t, "mail.log", logLine(letter{helo: "192.0.2.9"}, "accept", "rcpts=1"))
	r := replayed(t, Options{Paths: []string{path}, Config: configOf(t, "a.yaml", "")})
	j := jsonOf(t, r)
	if got := j.NotJudged["msgfields"]["header section not known"]; got != 1 || len(j.NotJudged["greylist"]) > 0 || len(j.NotJudged["helo"]) > 0 {
		t.Errorf("got %v", j.NotJudged)
	}
	if m := j.Reasons["helo-bare-ip"].Messages; len(m) != 1 || m[0].Session != "s1" || m[0].MessageID != "" || m[0].File != path {
		t.Errorf("got %+v", m)
	}
	if text := textOf(t, r); !strings.Contains(text, "2024-11-21 session s1 from alice@example.net in "+path+", line 1\n") || strings.Contains(text, "border") {
		t.Errorf("got\n%s", text)
	}
}

// TestWhoWasTrustedByTheLog: who was trusted for the network is not where that is trusted no more. Who was for anything else, which
// a log does not tell, still is.
func TestWhoWasTrustedByTheLog(t *testing.T) {
	t.Parallel()
	path := file(t, "mail.log", logLine(letter{helo: "192.0.2.9"}, "accept", "rcpts=1 trusted=true"))
	const trusts = "trusted: {networks: [127.0.0.0/8, 192.0.2.0/24]}"
	for _, c := range []struct {
		name, old, new string
		want           string
	}{
		{"no more", trusts, "", "1 trusted, then 0, 1 refused"},
		{"now", "", trusts, "0 trusted, then 1, 0 refused"},
		{"for something else", "", trustsRelay, "1 trusted, then 1, 0 refused"},
	} {
		against := configOf(t, "b.yaml", c.new)
		r := replayed(t, Options{Paths: []string{path}, Config: configOf(t, "a.yaml", c.old), Against: &against})
		if got := fmt.Sprintf("%d trusted, then %d, %d refused", r.Trusted, r.changes.trusted, r.changes.refused); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}
