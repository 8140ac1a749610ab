package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"milterd/milter/mtatest"
)

// TestReplayOfDeliveredMail replays what a real Postfix, Sendmail and Exim have delivered, as they have written it down.
func TestReplayOfDeliveredMail(t *testing.T) {
	mtatest.Require(t)
	site := mtatest.New(t, world)
	for _, m := range []*mtatest.MTA{site.Postfix(t), site.Sendmail(t), site.Exim(t)} {
		t.Run(m.Name, func(t *testing.T) {
			for _, s := range []struct {
				helo, from string
				change     field
			}{
				{goodHelo, goodSender, field{"To", "alice@mx.test"}},
				{goodHelo, goodSender, field{"Date", "yesterday"}},
				{"127.0.0.9", goodSender, field{"To", "alice@mx.test"}},
				{goodHelo, "a@nowhere.test", field{"To", "alice@mx.test"}},
				{goodHelo, "", field{"Message-ID", "nonsense"}},
			} {
				c := mtatest.Dial(t, m.Open, goodClient) // there is no milter, so that all pass
				c.Must("2", "EHLO "+s.helo)
				envelope(c, s.from, "alice@mx.test")
				subject, msg := unique(s.change)
				if r := c.Data(msg); r.Code != "250" {
					t.Fatalf("got %s", r)
				}
				m.Delivered(t, "alice", subject)
			}
			dir := t.TempDir()
			cfg := filepath.Join(dir, "milterd.yaml")
			text := "hostname: mx.test\nlocal_domains: [mx.test]\ntrusted: {networks: []}\ndns: {servers: ['" + site.DNS.Addr + "']}\nstore: {driver: memory}\n"
			if err := os.WriteFile(cfg, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			r := command(t, nil, "replay", "-c", cfg, "--json", filepath.Join(site.Dir, m.Name, "mail"))
			var got struct {
				Messages, Judged, Unreadable, Refused int
				Reasons                               map[string]struct{ Count int }
				NotJudged                             map[string]map[string]int `json:"not_judged"`
			}
			if err := json.Unmarshal([]byte(r.out), &got); err != nil {
				t.Fatalf("%v: %+v", err, r)
			}
			if got.Messages != 5 || got.Judged != 5 || got.Unreadable != 0 || got.Refused != 4 {
				t.Errorf("got %s", r.out)
			}
			for _, reason := range []string{"date-invalid", "helo-bare-ip", "sender-no-domain", "msgid-invalid"} {
				if got.Reasons[reason].Count != 1 {
					t.Errorf("%s: got %d\n%s", reason, got.Reasons[reason].Count, r.out)
				}
			}
			for check := range got.NotJudged {
				if check != "callout" { // it is a trial: nobody is connected to
					t.Errorf("%s was not judged: %v", check, got.NotJudged[check])
				}
			}
		})
	}
}
