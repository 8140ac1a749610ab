package replay

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"milterd/milter/records"
)

// recordOf returns the record of an attempt to deliver a letter, refused if reply is not empty.
func recordOf(l letter, action, reply string) records.Record {
	r := records.Record{
		Session: cmp.Or(l.id, "s1"), Time: noon.Add(l.at), Client: netip.MustParseAddr("192.0.2.9"), Helo: cmp.Or(l.helo, "mail.example.com"),
		MailFrom: cmp.Or(l.from, "alice@example.net"), Rcpts: []string{cmp.Or(l.to, "bob@example.org")}, Action: action, Reply: reply,
	}
	if l.helo == "none" {
		r.Helo = ""
	}
	if l.from == "<>" {
		r.MailFrom = ""
	}
	return r
}

// logOf writes records into a file as "milterd log --json" prints them.
func logOf(t *testing.T, list ...records.Record) string {
	t.Helper()
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, "log.json", string(text))
}

func TestReplayOfRecords(t *testing.T) {
	t.Parallel()
	const refused = "450 4.7.1 no"
	for _, c := range []struct {
		name, config string
		records      []records.Record
		want         string
	}{
		{"no reason applies", "", []records.Record{recordOf(letter{}, "accept", "")}, "1 messages, 1 judged, 0 unreadable, 0 refused:"},
		{"a reason was watched and now refuses", "actions: {helo-mismatch: reject}",
			[]records.Record{recordOf(letter{helo: "mx.example.net"}, "accept", ""), recordOf(letter{helo: "mx.example.net"}, "watch", "")},
			"1 messages, 1 judged, 0 unreadable, 1 refused: helo-mismatch reject 1"},
		{"a reason refused and is now off", "actions: {helo-bare-ip: off}", []records.Record{recordOf(letter{helo: "192.0.2.9"}, "reject", refused)},
			"1 messages, 1 judged, 0 unreadable, 0 refused:"},
		{"a client without HELO", "actions: {helo-missing: reject}", []records.Record{recordOf(letter{helo: "none"}, "accept", "")},
			"1 messages, 1 judged, 0 unreadable, 1 refused: helo-missing reject 1"},
		{"a greylisted attempt and its retry", "actions: {first-contact: greylist}",
			[]records.Record{recordOf(letter{id: "s2", at: 10 * time.Minute}, "accept", ""), recordOf(letter{}, "greylist", refused)},
			"2 messages, 2 judged, 0 unreadable, 1 refused, 1 held: first-contact greylist 1 greylisted tempfail 1"},
		{"a bounce, greylisted at the end of the header", "actions: {first-contact: greylist}", []records.Record{recordOf(letter{from: "<>"}, "accept", "")},
			"1 messages, 1 judged, 0 unreadable, 1 refused, 1 held: first-contact greylist 1 greylisted tempfail 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := replayed(t, Options{Paths: []string{logOf(t, c.records...)}, Config: configOf(t, "a.yaml", c.config)})
			got := jsonOf(t, r).line()
			if c.want == "1 messages, 1 judged, 0 unreadable, 0 refused:" {
				got = got[:min(len(got), len(c.want))] // without reasons that are watched
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestReportOfRecords(t *testing.T) {
	t.Parallel()
	path := logOf(t, recordOf(letter{helo: "192.0.2.9"}, "accept", ""))
	r := replayed(t, Options{Paths: []string{path}, Config: configOf(t, "a.yaml", "")})
	j := jsonOf(t, r)
	if got := j.NotJudged["msgfields"]["header section not known"]; got != 1 || len(j.NotJudged["greylist"]) > 0 || len(j.NotJudged["helo"]) > 0 {
		t.Errorf("got %v", j.NotJudged)
	}
	if m := j.Reasons["helo-bare-ip"].Messages; len(m) != 1 || m[0].Session != "s1" || m[0].MessageID != "" || m[0].File != path {
		t.Errorf("got %+v", m)
	}
	if text := textOf(t, r); !strings.Contains(text, "2024-11-21 session s1 from alice@example.net in "+path+", record 1\n") || strings.Contains(text, "Received field") {
		t.Errorf("got\n%s", text)
	}
}

func TestTrustOfRecords(t *testing.T) {
	t.Parallel()
	path := logOf(t, recordOf(letter{helo: "192.0.2.9"}, "accept", ""))
	against := configOf(t, "b.yaml", "trusted: {networks: [127.0.0.0/8, 192.0.2.0/24]}")
	r := replayed(t, Options{Paths: []string{path}, Config: configOf(t, "a.yaml", ""), Against: &against})
	if r.Trusted != 0 || r.changes.trusted != 1 || r.changes.refused != 0 {
		t.Errorf("%d trusted, then %d, %d refused", r.Trusted, r.changes.trusted, r.changes.refused)
	}
}
