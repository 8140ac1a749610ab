package daemontest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"milterd/milter/miltertest"
)

// Entry is a line of the daemon's log: values by field name.
type Entry map[string]string

// DecisionFields are the fields of every line about a refusal.
var DecisionFields = []string{
	"session", "queue_id", "client", "client_name", "helo", "mail_from", "rcpt",
	"stage", "check", "reason", "action", "code", "text",
}

// Mark returns the number of lines in the log so far, for Entries and AwaitEntry.
func (d *Daemon) Mark() int { return len(d.Lines()) }

// Entries returns the lines of the log after a mark. It reports lines that cannot be parsed as errors of the test.
func (d *Daemon) Entries(t testing.TB, mark int) []Entry {
	t.Helper()
	var all []Entry
	for _, line := range d.Lines()[mark:] {
		e, err := parseEntry(line)
		if err != nil {
			t.Errorf("log line %q: %v", line, err)
			continue
		}
		all = append(all, e)
	}
	return all
}

// AwaitEntry waits for a line after a mark that has these fields.
func (d *Daemon) AwaitEntry(t testing.TB, mark int, fields Entry) Entry {
	t.Helper()
	var found Entry
	miltertest.Eventually(t, fmt.Sprintf("log line with %v", fields), func() bool {
		for _, e := range d.Entries(t, mark) {
			if e.Has(fields) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// Has reports whether the entry has these fields.
func (e Entry) Has(fields Entry) bool {
	for k, v := range fields {
		if e[k] != v {
			return false
		}
	}
	return true
}

// parseEntry parses the text format of logrus: key=value, where the value may be a quoted Go string.
func parseEntry(line string) (Entry, error) {
	e := Entry{}
	for rest := line; rest != ""; {
		key, value, ok := strings.Cut(rest, "=")
		if !ok || key == "" || strings.ContainsAny(key, " \"") {
			return nil, fmt.Errorf("no field at %q", rest)
		}
		raw, err := strconv.QuotedPrefix(value)
		if err == nil {
			rest = value[len(raw):]
			if raw, err = strconv.Unquote(raw); err != nil {
				return nil, err
			}
		} else {
			raw, _, _ = strings.Cut(value, " ")
			rest = value[len(raw):]
		}
		if _, twice := e[key]; twice {
			return nil, fmt.Errorf("field %s twice", key)
		}
		e[key], rest = raw, strings.TrimPrefix(rest, " ")
	}
	return e, nil
}
