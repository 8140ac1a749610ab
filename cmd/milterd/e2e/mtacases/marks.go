package mtacases

import (
	"slices"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// marksConfig tags messages without a Date, and quarantines those without a Message-ID and those of clients without a name.
func marksConfig(s *miltertest.Site) daemontest.Config {
	actions := daemontest.OnlyReason("date-missing", "tag")
	actions["msgid-missing"], actions["rdns-missing"] = "quarantine", "quarantine"
	return daemontest.Config{DNS: s.DNS.Addr, Profile: "safe", Actions: actions, Extra: "tag: {subject: \"[suspicious] \"}\n"}
}

func testMarks(t *testing.T, m *daemontest.MailServer) {
	t.Run("tag", func(t *testing.T) { testTag(t, m) })
	t.Run("subjects", func(t *testing.T) { testTaggedSubjects(t, m) })
	t.Run("no mark", func(t *testing.T) { testNoMark(t, m) })
	t.Run("quarantine", func(t *testing.T) { testQuarantine(t, m) })
	t.Run("quarantine of some recipients", func(t *testing.T) { testQuarantineOfSome(t, m) })
}

// forgedMarks are fields that claim to be from milterd.
const forgedMarks = "X-Milterd: forged\r\nx-milterd : forged\r\n"

// noDate is the mark of a message without a Date.
const noDate = "date-missing; the message has no Date field"

// fieldsOf returns the fields of a delivered message with a name, and reports whether the first of them is above all Received fields.
func fieldsOf(message, name string) (values []string, onTop bool) {
	header, _, _ := strings.Cut(message, "\n\n")
	onTop = true
	for _, line := range strings.Split(strings.NewReplacer("\n\t", " ", "\n ", " ").Replace(header), "\n") {
		field, value, _ := strings.Cut(line, ":")
		field = strings.TrimSpace(field)
		if strings.EqualFold(field, name) {
			values = append(values, strings.TrimSpace(value))
		}
		if len(values) == 0 && strings.EqualFold(field, "Received") {
			onTop = false
		}
	}
	return values, onTop
}

// send sends a message of the good client to alice and returns it as it is in her mailbox, where it has the text.
func send(t *testing.T, m *daemontest.MailServer, message, text string) string {
	t.Helper()
	c := m.ConnectGood(t)
	daemontest.Envelope(c, daemontest.GoodSender, "alice@mx.test")
	daemontest.SendMessage(t, c, message)
	c.Must("2", "QUIT")
	return m.Delivered(t, "alice", text)
}

// testTag tests the fields of a tagged message, and the line in the log.
func testTag(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	subject, message := daemontest.UniqueMessage(daemontest.Field{"Date", "-"})
	got := send(t, m, forgedMarks+message, subject)
	marks, onTop := fieldsOf(got, checks.MarkField)
	if !slices.Equal(marks, []string{noDate}) || !onTop {
		t.Errorf("marks %q, on top: %t, in\n%s", marks, onTop, got)
	}
	if subjects, _ := fieldsOf(got, "Subject"); !slices.Equal(subjects, []string{"[suspicious] " + subject}) {
		t.Errorf("subjects %q in\n%s", subjects, got)
	}
	if !strings.Contains(got, "\n\nThe body.") {
		t.Errorf("the body was changed:\n%s", got)
	}
	e := m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "rcpt": "alice@mx.test"})
	if e["tagged"] != "date-missing" || e["quarantined"] != "" {
		t.Errorf("log: %v", e)
	}
}

// testTaggedSubjects tests that a prefix leaves the rest of a subject as it is.
func testTaggedSubjects(t *testing.T, m *daemontest.MailServer) {
	for _, c := range []struct{ name, subject, want string }{
		{"encoded", "=?utf-8?q?caf=C3=A9?= %", "[suspicious] =?utf-8?q?caf=C3=A9?= %"},
		{"folded", "two\n lines %", "[suspicious] two lines %"},
		{"folded at once", "\n lines %", "[suspicious] lines %"},
		{"long", strings.Repeat("x", 70) + " %", "[suspicious] " + strings.Repeat("x", 70) + " %"},
		{"with the prefix", "[suspicious] %", "[suspicious] %"},
		{"empty", "", "[suspicious]"},
		{"missing", "-", "[suspicious]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			unique, _ := daemontest.UniqueMessage()
			header := daemontest.GoodHeader(daemontest.Field{"Subject", strings.ReplaceAll(c.subject, "%", unique)},
				daemontest.Field{"Date", "-"}, daemontest.Field{"X-Unique", unique})
			got := send(t, m, daemontest.Message(header), "X-Unique: "+unique)
			want := strings.ReplaceAll(c.want, "%", unique)
			if subjects, _ := fieldsOf(got, "Subject"); !slices.Equal(subjects, []string{want}) {
				t.Errorf("subjects %q, want %q, in\n%s", subjects, want, got)
			}
		})
	}
}

// testNoMark tests that an innocent message loses forged marks alone.
func testNoMark(t *testing.T, m *daemontest.MailServer) {
	subject, message := daemontest.UniqueMessage()
	got := send(t, m, forgedMarks+message, subject)
	if marks, _ := fieldsOf(got, checks.MarkField); len(marks) > 0 || strings.Contains(got, "suspicious") {
		t.Errorf("marks %q in\n%s", marks, got)
	}
}

// testQuarantine tests that a message is accepted and set aside until the operator releases it.
func testQuarantine(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	c := m.ConnectGood(t)
	daemontest.Envelope(c, daemontest.GoodSender, "alice@mx.test")
	subject, message := daemontest.UniqueMessage(daemontest.Field{"Message-ID", "-"}, daemontest.Field{"Date", "-"})
	daemontest.SendMessage(t, c, message)
	c.Must("2", "QUIT")
	// A later message is delivered at once. Sendmail would queue it if it came on the same connection.
	if later := m.Deliver(t, m.ConnectGood(t), daemontest.GoodSender, "alice"); strings.Contains(later, "suspicious") {
		t.Errorf("the next message is marked:\n%s", later)
	}
	e := m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "quarantined": "msgid-missing"})
	if e["tagged"] != "date-missing" {
		t.Errorf("log: %v", e)
	}
	list := m.Quarantine(t)
	if !strings.Contains(list, e["queue_id"]) || !strings.Contains(list, daemontest.GoodSender) {
		t.Errorf("queue id %s is not in the quarantine:\n%s", e["queue_id"], list)
	}
	for _, delivered := range m.Mail(t, "alice") {
		if strings.Contains(delivered, subject) {
			t.Fatalf("delivered:\n%s", delivered)
		}
	}
	m.Release(t, e["queue_id"])
	got := m.Delivered(t, "alice", subject)
	want := []string{"msgid-missing; the message has no Message-ID field", noDate}
	if marks, onTop := fieldsOf(got, checks.MarkField); !slices.Equal(marks, want) || !onTop {
		t.Errorf("marks %q, want %q, on top: %t, in\n%s", marks, want, onTop, got)
	}
	if subjects, _ := fieldsOf(got, "Subject"); !slices.Equal(subjects, []string{"[suspicious] " + subject}) {
		t.Errorf("subjects %q in\n%s", subjects, got)
	}
	if list := m.Quarantine(t); strings.Contains(list, e["queue_id"]) {
		t.Errorf("queue id %s is still in the quarantine:\n%s", e["queue_id"], list)
	}
}

// testQuarantineOfSome tests that an exempt recipient gets a message that is quarantined for others.
func testQuarantineOfSome(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	c := m.Connect(t, "127.0.0.13", daemontest.GoodHelo)
	c.Must("2", "MAIL FROM:<a@none.test>")
	c.Must("2", "RCPT TO:<alice@mx.test>")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<postmaster@mx.test>"), "452 4.5.3", "postmaster@mx.test")
	subject, message := daemontest.UniqueMessage()
	daemontest.SendMessage(t, c, message)
	c.Must("2", "QUIT")
	c = m.Connect(t, "127.0.0.13", daemontest.GoodHelo)
	daemontest.Envelope(c, "a@none.test", "postmaster@mx.test")
	m.Send(t, c, "postmaster")
	c.Must("2", "QUIT")
	if list := m.Quarantine(t); !strings.Contains(list, "a@none.test") {
		t.Errorf("the message to alice is not in the quarantine:\n%s", list)
	}
	e := m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "quarantined": "rdns-missing"})
	m.Release(t, e["queue_id"])
	m.Delivered(t, "alice", subject)
}
