package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/checktest"
	"milterd/checks/correspondents"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/session"
	"milterd/milter/log"
)

// faultyDNS is a resolver that does not answer the questions for which fails returns true.
type faultyDNS struct {
	checks.Resolver
	silent bool // it returns an error after silence, else SERVFAIL at once
	fails  func(checks.Question) bool

	mu    sync.Mutex
	asked map[checks.Question]bool
}

// faultsTime is when sessions without a time begin, some hours after the dates of their messages.
var faultsTime = time.Date(2026, 11, 29, 18, 0, 0, 0, time.UTC)

// silence is how long the daemon's resolver waits for all servers by default.
const silence = 4 * time.Second

func (d *faultyDNS) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	d.mu.Lock()
	d.asked[q] = true
	d.mu.Unlock()
	switch {
	case !d.fails(q):
		return d.Resolver.Lookup(ctx, q)
	case !d.silent:
		return checks.Answer{}, checktest.ErrServFail
	}
	select {
	case <-ctx.Done():
		return checks.Answer{}, ctx.Err()
	case <-time.After(silence):
		return checks.Answer{}, checktest.ErrTimeout
	}
}

// playWithFaults plays a session and returns the first line of the reply to each line of the client, which is empty for a line of
// a message, and the replies that are not those of the file.
func playWithFaults(t *testing.T, s *session.Script, cfg *config.Config, d *faultyDNS) (replies []string, wrong []*session.Mismatch) {
	player := &session.InProcess{Now: time.Now}
	store := checktest.NewStore(player.Clock)
	prepare(t, store, player.Clock())
	p, err := newPipeline(cfg, checks.Env{DNS: d, Store: store, Log: log.Discard()}, func(*checks.Options) {})
	if err != nil {
		t.Fatal(err)
	}
	p.Maintain(t.Context(), player.Clock())
	player.Pipeline = p
	var shown []string
	wrong, err = session.Play(s, player, func(_ string, reply []string) {
		shown = append(shown, strings.Join(reply[:min(len(reply), 1)], ""))
	})
	if err != nil {
		t.Fatal(err)
	}
	refused := false // Play shows no lines of a message after a refused DATA
	for _, step := range s.Steps {
		switch {
		case !step.Said:
		case refused:
			replies, refused = append(replies, ""), step.Say != "."
		default:
			replies, refused = append(replies, shown[0]), strings.HasPrefix(shown[0], noRecipient)
			shown = shown[1:]
		}
	}
	return replies, wrong
}

// prepare stores what cannot be said in a session file: callouts found that gone@ at each domain is no mailbox, and bob@example.org
// wrote to gone@pen.example.
func prepare(t *testing.T, store checks.Store, now time.Time) {
	put := func(key, value string) {
		if err := store.Put(t.Context(), key, []byte(value), 24*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for _, domain := range []string{"example.net", "example.com", "pen.example", "listed.example"} {
		sum := sha256.Sum256([]byte("gone@" + domain))
		put("callout:addr:"+base64.RawURLEncoding.EncodeToString(sum[:16]), `{"kind":"rejected","stage":"rcpt"}`)
	}
	put(correspondents.Pair(checks.ParseAddress("gone@pen.example"), checks.ParseAddress("bob@example.org")), fmt.Sprintf(`{"at":%d}`, now.Unix()))
}

// noRecipient begins the reply to DATA after all recipients were refused.
const noRecipient = "503 5.5.1 no recipient"

// ofMTA matches refusals of the MTA of a session: what is out of sequence after an earlier reply of the checks, which is compared
// too (RFC 5321 section 4.1.4).
var ofMTA = regexp.MustCompile(`^503 5\.5\.1 (no recipient|nested MAIL|MAIL first)`)

var profileKey = regexp.MustCompile(`(?m)^profile:.*\n?`)

// TestNoFaultRefuses plays each session file of the module with each of its DNS questions unanswered in turn, by SERVFAIL and by
// silence, in the profiles safe and strict. No answer that is missing may turn an accept or a 4yz into a 5yz.
func TestNoFaultRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range readSessions(t, allSessionFiles(t)...) {
		for _, profile := range []string{"safe", "strict"} {
			t.Run(filepath.Base(s.Name)+" "+profile, func(t *testing.T) {
				t.Parallel()
				text := profileKey.ReplaceAllString(string(s.Config), "")
				cfg, problems := config.Parse(s.Name, []byte(text+"\nprofile: "+profile+"\n"), all.Checks)
				if err := problems.Err(); err != nil {
					t.Fatal(err)
				}
				zone, err := checktest.ParseZone(s.Zone)
				if err != nil {
					t.Fatal(err)
				}
				// A file without a configuration is played with that of the manual by another test.
				own := len(s.Config) > 0 && (profileKey.FindString(string(s.Config)) == "profile: "+profile+"\n" ||
					profile == "safe" && !profileKey.Match(s.Config))
				testFaults(t, s, cfg, zone, own)
			})
		}
	}
}

// allSessionFiles returns the paths of all session files of the module.
func allSessionFiles(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".session" {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// testFaults plays a session without faults, and then with each fault. If the profile is that of the file, the replies without
// faults must be those of the file.
func testFaults(t *testing.T, s *session.Script, cfg *config.Config, zone checks.Resolver, ownProfile bool) {
	var wrong []*session.Mismatch
	play := func(cfg *config.Config, silent bool, fails func(checks.Question) bool) (replies []string, asked map[checks.Question]bool) {
		synctest.Test(t, func(t *testing.T) { // waits for no real time
			time.Sleep(time.Until(faultsTime)) // the clock of the test begins in 2000
			d := &faultyDNS{Resolver: zone, silent: silent, fails: fails, asked: map[checks.Question]bool{}}
			replies, wrong = playWithFaults(t, s, cfg, d)
			asked = d.asked
		})
		return replies, asked
	}
	none := func(checks.Question) bool { return false }
	ungreyed, _ := play(withoutGreylisting(cfg), false, none)
	want, asked := play(cfg, false, none)
	for _, m := range wrong {
		if ownProfile {
			t.Errorf("without faults: %v", m)
		}
	}
	// try plays the session with a fault and returns the questions that it asks.
	try := func(name string, silent bool, fails func(checks.Question) bool) (asked map[checks.Question]bool) {
		got, asked := play(cfg, silent, fails)
		if worse := firstWorse(s, want, ungreyed, got); worse != "" {
			t.Errorf("no answer for %s (silence: %t): %s", name, silent, worse)
		}
		return asked
	}
	for _, silent := range []bool{false, true} {
		try("all questions", silent, func(checks.Question) bool { return true })
		several := map[string]bool{} // names that have another question, for another type, when one is not answered
		for q := range asked {
			for other := range try(q.String(), silent, func(other checks.Question) bool { return other == q }) {
				several[q.Name] = several[q.Name] || other.Name == q.Name && other != q
			}
		}
		for name, yes := range several {
			if yes { // else no answer of any type is the same as no answer to the one question
				try(name+" of any type", silent, func(q checks.Question) bool { return q.Name == name })
			}
		}
	}
}

// withoutGreylisting returns a configuration in which no mail waits.
func withoutGreylisting(cfg *config.Config) *config.Config {
	off := func(actions map[string]checks.Action) map[string]checks.Action {
		actions = maps.Clone(actions)
		actions["greylisted"] = checks.Off
		return actions
	}
	c := *cfg
	c.Policy.Actions = off(c.Policy.Actions)
	c.Policy.Policies = slices.Clone(c.Policy.Policies)
	for i := range c.Policy.Policies {
		c.Policy.Policies[i].Actions = off(c.Policy.Policies[i].Actions)
	}
	return &c
}

// firstWorse returns the first line of the client with a 5yz of the checks for which they did not refuse before. For a message that
// was not sent, the reply without greylisting counts, or the one to its last recipient.
func firstWorse(s *session.Script, want, ungreyed, got []string) string {
	i, rcpt := 0, ""
	for _, step := range s.Steps {
		if !step.Said {
			continue
		}
		if strings.HasPrefix(step.Say, "RCPT") {
			rcpt = want[i]
		}
		before := cmp.Or(want[i], ungreyed[i], rcpt)
		if strings.HasPrefix(got[i], "5") && !strings.HasPrefix(before, "5") && !ofMTA.MatchString(got[i]) {
			return fmt.Sprintf("line %d: %s: got %q, want %q", step.Line, step.Say, got[i], before)
		}
		i++
	}
	return ""
}
