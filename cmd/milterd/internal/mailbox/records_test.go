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

	"milterd/milter/records"
)

// readFile returns a line for each attempt or error in a file with this content: the number, then session,
// time, client, HELO name, sender and recipient, or the error.
func readFile(t *testing.T, name, content string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	for m := range (File{Path: path}).Messages(t.Context(), nil) {
		a := m.Attempt
		switch {
		case m.Err != nil:
			got = append(got, "error: "+m.Err.Error())
		case a == nil:
			got = append(got, fmt.Sprintf("%d mail", m.Number))
		default:
			got = append(got, fmt.Sprintf("%d %s %s %v %s <%s> <%s>", m.Number, a.Session, a.Time.Format("15:04"), a.Client, a.Helo, a.From, a.To))
		}
	}
	return got
}

// compress returns the text as gzip writes it.
func compress(text string) string {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = io.WriteString(z, text) // into memory
	_ = z.Close()
	return out.String()
}

// record returns the JSON of a record from alice@example.net, with these members changed.
func record(t *testing.T, change map[string]any) string {
	t.Helper()
	all := map[string]any{
		"session": "s1", "time": "2026-01-02T09:00:00Z", "client": "192.0.2.9", "helo": "mail.example.net", "mail_from": "alice@example.net",
		"rcpts": []string{"bob@example.org"}, "action": "accept", "reply": "", "outcomes": []any{},
	}
	for key, value := range change {
		all[key] = value
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRecords(t *testing.T) {
	t.Parallel()
	const attempt = "s1 09:00 192.0.2.9 mail.example.net <alice@example.net> <bob@example.org>"
	accepted := record(t, nil)
	watched := record(t, map[string]any{"action": "watch", "outcomes": []any{map[string]string{"stage": "helo", "reason": "helo-mismatch"}}})
	refused := record(t, map[string]any{"action": "reject", "reply": "550 5.7.27 no"})
	list := func(records ...string) string { return "[\n" + strings.Join(records, ",\n") + "\n]\n" }
	for _, c := range []struct {
		name, content string
		want          []string
	}{
		{"accepted", list(accepted), []string{"1 " + attempt}},
		{"refused", list(refused), []string{"1 " + attempt}},
		{"an accepted message with a watched reason", list(accepted, watched), []string{"1 " + attempt}},
		{"the same, the oldest first", list(watched, accepted), []string{"1 " + attempt}},
		{"two messages in a session", list(accepted, watched, accepted, watched), []string{"1 " + attempt, "3 " + attempt}},
		{"refused twice, then accepted", list(accepted, refused, refused, watched), []string{"1 " + attempt, "2 " + attempt, "3 " + attempt}},
		{"two queue ids", list(record(t, map[string]any{"queue_id": "B"}), record(t, map[string]any{"queue_id": "A", "action": "watch"})),
			[]string{"1 " + attempt, "2 " + attempt}},
		{"the time of the first record", list(record(t, map[string]any{"time": "2026-01-02T09:05:00Z"}), watched), []string{"1 " + attempt}},
		{"two recipients", list(record(t, map[string]any{"rcpts": []string{"amy@example.org", "bob@example.org"}})),
			[]string{"1 " + strings.Replace(attempt, "bob", "amy", 1), "1 " + attempt}},
		{"refused before RCPT", list(record(t, map[string]any{"action": "reject", "reply": "550 no", "rcpts": []string{}})),
			[]string{"1 " + strings.Replace(attempt, "bob@example.org", "", 1)}},
		{"watched before RCPT", list(record(t, map[string]any{"action": "watch", "rcpts": []string{}})), []string{"error: " + errNoRecords.Error()}},
		{"an unknown client", list(record(t, map[string]any{"client": ""})), []string{"1 " + strings.Replace(attempt, "192.0.2.9", "invalid IP", 1)}},
		{"two lists", list(accepted) + list(refused), []string{"1 " + attempt, "2 " + attempt}},
		{"an empty list", "[]\n", []string{"error: " + errNoRecords.Error()}},
		{"JSON of another program", `[{"a":1},{"session":5}]`,
			[]string{"error: record 2: json: cannot unmarshal number into Go struct field Record.session of type string"}},
		{"a truncated list", "[" + accepted + `,{"ses`, []string{"error: record 2: unexpected EOF", "1 " + attempt}},
		{"a record without end", `["` + strings.Repeat("x", 2*maxRecord), []string{"error: record 1: over 1024 KiB"}},
		{"a text log", "Jan  2 12:00:00 mx milterd[12]: level=info msg=reject session=s1\n", []string{"error: " + errNoMail.Error()}},
		{"a text log without syslog", `time="2026-01-02T10:00:00+01:00" level=info msg=reject session=s1` + "\n", []string{"error: " + errNoMail.Error()}},
		{"a text log with ISO 8601 dates", "2026-01-02T10:00:00+01:00 mx milterd[12]: level=info msg=reject session=s1\n", []string{"error: " + errNoMail.Error()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := readFile(t, "log.json", c.content); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if got := readFile(t, "log.json.gz", compress(c.content)); !slices.Equal(got, c.want) {
				t.Errorf("compressed: got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestRecordsOfMilterd reads what the type records.Record looks like in JSON.
func TestRecordsOfMilterd(t *testing.T) {
	t.Parallel()
	const hostile = "a\r\nb \"c\" \\d \u202e\x00\xff"
	text, err := json.Marshal([]records.Record{{
		Session: "s1", QueueID: "Q1", Time: time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC), Client: netip.MustParseAddr("2001:db8::9"), ClientName: hostile,
		Helo: hostile, MailFrom: hostile, Rcpts: []string{"bob@example.org"}, Action: records.Accept,
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := readFile(t, "log.json", string(text))
	valid := strings.ToValidUTF8(hostile, "\ufffd") // JSON has only valid UTF-8
	want := fmt.Sprintf("1 s1 09:00 2001:db8::9 %s <%s> <bob@example.org>", valid, valid)
	if !slices.Equal(got, []string{want}) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPendingAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	var p pending
	for i := range 3 * maxPending {
		oldest := p.add(&attempt{Attempt: Attempt{Session: fmt.Sprint(i)}, number: i})
		if oldest != nil && oldest.number != i-maxPending {
			t.Fatalf("attempt %d was returned when %d was added", oldest.number, i)
		}
	}
	if len(p) != maxPending {
		t.Errorf("%d attempts are pending", len(p))
	}
}

func TestBrokenGzip(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"no header": "\x1f\x8b", "no body": "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03abc"} {
		if got := readFile(t, "x.gz", content); len(got) != 1 || !strings.Contains(got[0], "error") {
			t.Errorf("%s: got %q", name, got)
		}
	}
}
