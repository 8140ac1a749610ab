package mailbox

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/milter/log"
	"milterd/milter/records"
)

// attemptsIn tells what a log has: number, session, time, client, sender, recipient of each attempt, or an error.
func attemptsIn(t *testing.T, name, content string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	written := time.Date(2026, 1, 2, 12, 0, 0, 0, time.Local)
	if err := os.Chtimes(path, written, written); err != nil {
		t.Fatal(err)
	}
	var got []string
	var sum int64
	for m := range (File{Path: path, Size: int64(len(content))}).Messages(t.Context()) {
		sum += m.Size
		d := m.Decided
		if m.Err != nil || d == nil {
			got = append(got, fmt.Sprintf("%s %d ! %v", m.Unit, m.Number, m.Err))
			continue
		}
		at := "-"
		if !d.Time.IsZero() {
			at = d.Time.UTC().Format("2006-01-02T15:04:05")
		}
		trusted := ""
		if d.Trusted {
			trusted = " trusted"
		}
		got = append(got, fmt.Sprintf("%s %d %s %s %v %s <%s> <%s>%s", m.Unit, m.Number, d.Session, at, d.Client, d.Helo, d.From, d.To, trusted))
	}
	if sum != int64(len(content)) {
		t.Errorf("%s: the attempts have %d octets, the file %d", name, sum, len(content))
	}
	return got
}

// local is a time of day in this machine's zone, as the old syslog writes it, in UTC.
func local(month time.Month, year, day int) string {
	return time.Date(year, month, day, 12, 0, 0, 0, time.Local).UTC().Format("2006-01-02T15:04:05")
}

const (
	who     = `session=s1 queue_id="" client=192.0.2.9 client_name=mail.example.net helo=mail.example.net mail_from=alice@example.net rcpt=bob@example.org`
	watched = "level=info msg=watch " + who + " stage=helo check=helo reason=helo-mismatch action=watch code=550 text=\"5.7.1 no\"\n"
	refused = "level=info msg=reject " + who + " stage=mail check=sender reason=sender-null-mx action=reject code=550 text=\"5.7.27 no\"\n"
	taken   = "level=info msg=accept " + who + " rcpts=1\n"
	iso     = "2026-01-02T10:00:00.123456+01:00 mx milterd[12]: "
)

func TestLogs(t *testing.T) {
	t.Parallel()
	const attempt = "s1 2026-01-02T09:00:00 192.0.2.9 mail.example.net <alice@example.net> <bob@example.org>"
	stamped := func(s string) string { return `time="2026-01-02T09:00:00Z" ` + s }
	for _, c := range []struct {
		name, content string
		want          []string
	}{
		{"rsyslog", iso + refused, []string{"line 1 " + attempt}},
		{"the old form, of this year", "Jan  2 12:00:00 mx milterd[12]: " + refused, []string{"line 1 " + strings.Replace(attempt, "2026-01-02T09:00:00", local(1, 2026, 2), 1)}},
		{"the old form, of last year", "Dec 31 12:00:00 mx milterd: " + refused, []string{"line 1 " + strings.Replace(attempt, "2026-01-02T09:00:00", local(12, 2025, 31), 1)}},
		{"RFC 5424", "<22>1 2026-01-02T09:00:00Z mx milterd 12 - - " + refused, []string{"line 1 " + attempt}},
		{"standard error", stamped(refused), []string{"line 1 " + attempt}},
		{"without a time", refused, []string{"line 1 " + strings.Replace(attempt, "2026-01-02T09:00:00", "-", 1)}},
		{"journalctl", "-- Boot 1 --\n" + iso + refused, []string{"line 2 " + attempt}},
		{"CRLF", strings.ReplaceAll(iso+refused, "\n", "\r\n"), []string{"line 1 " + attempt}},
		{"watched and accepted is one attempt", iso + watched + iso + taken, []string{"line 1 " + attempt}},
		{"two messages in a session", iso + watched + iso + taken + iso + watched + iso + taken, []string{"line 1 " + attempt, "line 3 " + attempt}},
		{"refused, then again, then accepted", iso + watched + iso + refused + iso + refused + iso + taken, []string{"line 1 " + attempt, "line 3 " + attempt, "line 4 " + attempt}},
		{"messages by their queue ids", iso + strings.Replace(watched, `queue_id=""`, "queue_id=A", 1) + iso + strings.Replace(taken, `queue_id=""`, "queue_id=B", 1),
			[]string{"line 1 " + attempt, "line 2 " + attempt}},
		{"several recipients", iso + strings.Replace(taken, "rcpt=bob@example.org", `rcpt="\"a,b\"@example.org,bob@example.org"`, 1),
			[]string{`line 1 ` + strings.Replace(attempt, "bob", `"a,b"`, 1), "line 1 " + attempt}},
		{"trusted", iso + strings.Replace(taken, "rcpts=1", "rcpts=1 trusted=true", 1), []string{"line 1 " + attempt + " trusted"}},
		{"refused before there is a recipient", iso + strings.Replace(refused, "rcpt=bob@example.org", `rcpt=""`, 1), []string{"line 1 " + strings.Replace(attempt, "bob@example.org", "", 1)}},
		{"watched, and then nothing", iso + strings.Replace(watched, "rcpt=bob@example.org", `rcpt=""`, 1), []string{"line 0 ! " + ErrNoDecisions.Error()}},
		{"among lines of others", "2026-01-02T10:00:00+01:00 mx postfix/smtpd[1]: connect from x\n" + iso + refused + iso + "level=info msg=\"milterd is ready\"\n",
			[]string{"line 2 " + attempt}},
		{"a stranger's HELO in a line of another program", "2026-01-02T10:00:00+01:00 mx postfix/smtpd[1]: NOQUEUE: helo=<milterd[1]: " + refused,
			[]string{"line 0 ! " + ErrNoDecisions.Error()}},
		{"another program whose name begins like ours", strings.Replace(iso, "milterd", "milterd-greylist", 1) + refused, []string{"line 0 ! " + ErrNoDecisions.Error()}},
		{"cut off", iso + refused[:150] + "\n" + iso + `level=info msg=reject session=s2 helo="x` + "\n" + iso + refused,
			[]string{"line 1 ! " + errBroken.Error(), "line 2 ! " + errBroken.Error(), "line 3 " + attempt}},
		{"a line that is too long", iso + strings.Replace(refused, "helo=mail.example.net", "helo="+strings.Repeat("x", 2*bufferSize), 1) + iso + refused,
			[]string{"line 1 ! " + errBroken.Error(), "line 2 " + attempt}},
		{"records, the last one first", `[
{"session":"s1","time":"2026-01-02T09:00:00Z","client":"192.0.2.9","helo":"mail.example.net","mail_from":"alice@example.net","rcpts":["bob@example.org"],"action":"accept","outcomes":[]},
{"session":"s1","time":"2026-01-02T09:00:00Z","client":"192.0.2.9","helo":"mail.example.net","mail_from":"alice@example.net","rcpts":["bob@example.org"],"action":"watch","outcomes":[{"stage":"helo","reason":"x"}]},
{"session":"s0","time":"2026-01-02T09:00:00Z","client":"192.0.2.9","helo":"h","mail_from":"","rcpts":["bob@example.org"],"action":"reject","reply":"550","outcomes":[]}]
`, []string{"record 1 " + attempt, "record 3 s0 2026-01-02T09:00:00 192.0.2.9 h <> <bob@example.org>"}},
		{"no records", "[]\n", []string{"record 0 ! " + ErrNoDecisions.Error()}},
		{"records that are none", `[{"a":1},{"session":5}]`, []string{"record 2 ! a list of records that is broken here: json: cannot unmarshal number into Go struct field Record.session of type string"}},
		{"records that are cut off", `[{"session":"s0","client":"","rcpts":["x"]},{"ses`, []string{"record 2 ! a list of records that is broken here: unexpected EOF", "record 1 s0 - invalid IP  <> <x>"}},
		{"a record without end", `["` + strings.Repeat("x", 2*maxRecord), []string{"record 1 ! a list of records that is broken here: over 1024 KiB"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := attemptsIn(t, "mail.log", c.content); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if c.content == "" {
				return
			}
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			_, _ = io.WriteString(z, c.content) // into memory
			_ = z.Close()
			if got := attemptsIn(t, "mail.log.2.gz", packed.String()); !slices.Equal(got, c.want) {
				t.Errorf("compressed: got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestWhatMilterdWrites reads what the journal has written, in every form of it, and what a record looks like in JSON.
func TestWhatMilterdWrites(t *testing.T) {
	t.Parallel()
	const hostile = "a\r\nb \"msg=accept\" c=\\d \u202e\x00\xff"
	s := &checks.Session{
		ID: "s1", Time: time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC), Client: netip.MustParseAddr("2001:db8::9"), ClientName: hostile, Helo: hostile,
		Envelope: checks.Envelope{QueueID: "Q1", MailFrom: checks.Address{Text: hostile}, Rcpts: []checks.Recipient{{Address: checks.Address{Text: "bob@example.org"}}}},
	}
	d := checks.Decision{Action: checks.Reject, Outcomes: []checks.Outcome{
		{Check: "helo", Stage: checks.Helo, Reason: &checks.Reason{ID: "helo-x"}, Action: checks.Watch, Detail: map[string]string{"helo": hostile}},
		{Check: "sender", Stage: checks.MailFrom, Reason: &checks.Reason{ID: "sender-x"}, Action: checks.Reject},
	}}
	for _, c := range []struct{ json, stamp bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
		var out bytes.Buffer
		q := log.ToWriter(&out, c.json, c.stamp)
		j := log.Journal{Log: q.Logger(logrus.InfoLevel)}
		j.Decided(s, d)
		j.Accepted(s)
		own := *s
		own.ID, own.Trusted = "s2", true
		j.Accepted(&own)
		q.Close(5 * time.Second)
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		var got []Decided
		for m := range (File{Path: path, Size: int64(out.Len())}).Messages(t.Context()) {
			if m.Err != nil {
				t.Fatalf("%v: %s", m.Err, &out)
			}
			got = append(got, *m.Decided)
		}
		helo := hostile
		if c.json {
			helo = strings.ToValidUTF8(hostile, "\ufffd") // JSON has nothing else
		}
		if len(got) != 3 || got[0].Trusted || !got[2].Trusted || got[0].Helo != helo || got[0].From != helo || got[0].Client != s.Client || got[0].To != "bob@example.org" || got[0].QueueID != "Q1" {
			t.Errorf("json %v, stamp %v: got %+v of\n%s", c.json, c.stamp, got, &out)
		}
	}
	text, err := json.Marshal([]records.Record{{Session: "s1", Time: s.Time, Client: s.Client, MailFrom: "a@b", Rcpts: []string{"x@y", "z@y"}, Action: records.Accept}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"record 1 s1 2026-01-02T09:00:00 2001:db8::9  <a@b> <x@y>", "record 1 s1 2026-01-02T09:00:00 2001:db8::9  <a@b> <z@y>"}
	if got := attemptsIn(t, "log.json", string(text)); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestTheAttemptsThatWaitAreBounded(t *testing.T) {
	t.Parallel()
	most := 0
	a := attempts{open: map[string]*attempt{}}
	a.emit = func(*attempt) bool { most = max(most, len(a.open), len(a.queue)); return true }
	for i := range 3 * maxOpen {
		a.add(event{Decided: Decided{Session: fmt.Sprint(i), Helo: strings.Repeat("x", 2*maxText)}, to: []string{"x"}}, i)
	}
	if most == 0 || most > maxOpen || len(a.queue[0].Helo) != maxText {
		t.Errorf("%d waited", most)
	}
}

func TestABrokenArchiveIsTold(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"no header": "\x1f\x8b", "no body": "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03abc"} {
		if got := attemptsIn(t, "x.gz", content); len(got) != 1 || !strings.Contains(got[0], "!") {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// FuzzDecision: what is read from a line stands in it, and a line of another program is never read.
func FuzzDecision(f *testing.F) {
	for _, line := range []string{iso + refused, iso + taken, watched, `{"msg":"accept","session":"x","rcpt":"a@b","client":""}`, "Jan  2 12:00:00 mx milterd[12]: " + refused} {
		f.Add(line)
	}
	written := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, line string) {
		e, ok, err := decision(line, written)
		if ok && (err != nil || e.Session == "") {
			t.Errorf("got %+v, %v", e, err)
		}
		if _, got, _ := decision("2026-01-02T10:00:00Z mx postfix/smtpd[1]: "+line, written); got {
			t.Error("read a line of another program")
		}
	})
}
