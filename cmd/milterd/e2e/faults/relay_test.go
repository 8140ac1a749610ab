package faults

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// relay is a Postfix in front of the daemon of a soak. It must deliver what it has accepted.
type relay struct {
	*miltertest.MTA

	mu         sync.Mutex
	replies    map[string]int  // by codes; "" is accepted
	unexpected map[string]bool // replies that no fault excuses
	accepted   []string        // subjects
}

// load sends messages of all kinds, one after the other, until stop is called.
func (r *relay) load(t *testing.T) (stop func()) {
	return daemontest.Repeat(t, 1, func(n int) {
		m, subject := newMessage(n), fmt.Sprintf("soak %d.", n)
		name := "[UNAVAILABLE]"
		if i := n % numHosts; m.client == hostAddr(i) {
			name = fmt.Sprintf("mail.d%d.example", i)
		}
		codes, refusal := r.send(t, m, name, subject)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.replies[codes]++
		switch {
		case codes == "":
			r.accepted = append(r.accepted, subject)
		case strings.HasPrefix(codes, "5") && codes != m.want:
			r.unexpected[fmt.Sprintf("%q instead of %q", refusal, m.want)] = true
		}
		<-time.After(20 * time.Millisecond) // leaves processor time for the load of the daemon
	})
}

// send sends a message of a client to alice. It returns the codes and the text of the first refusal, which are empty if the
// message was accepted.
func (r *relay) send(t *testing.T, m message, clientName, subject string) (codes, text string) {
	c := miltertest.DialSMTP(t, r.Addr, "")
	defer c.Close()
	header := []daemontest.Field{{"Subject", subject}}
	for _, f := range m.header {
		if f[0] != "Subject" {
			header = append(header, f)
		}
	}
	commands := []string{
		"EHLO x", fmt.Sprintf("XCLIENT ADDR=%s NAME=%s", m.client, clientName), "EHLO " + m.helo,
		"MAIL FROM:<" + m.from + ">", "RCPT TO:<alice@mx.test>",
	}
	reply := c.Greeting
	for len(commands) > 0 && strings.HasPrefix(reply.Code, "2") {
		reply, commands = c.Cmd(commands[0]), commands[1:]
	}
	if strings.HasPrefix(reply.Code, "2") {
		reply = c.Data(daemontest.Message(header))
	}
	switch {
	case reply.Code == "":
		return "closed", "closed"
	case strings.HasPrefix(reply.Code, "2"):
		return "", ""
	default:
		return strings.TrimSpace(reply.Code + " " + reply.Enhanced), reply.String()
	}
}

// verify fails the test for replies that no fault excuses.
func (r *relay) verify(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for text := range r.unexpected {
		t.Errorf("postfix replied %s", text)
	}
	if n := r.replies["closed"]; n > 0 {
		t.Errorf("postfix closed %d connections", n)
	}
}

// awaitDelivery waits until all messages that were accepted are in the mailbox.
func (r *relay) awaitDelivery(t *testing.T) {
	t.Helper()
	missing := map[string]bool{}
	for _, subject := range r.accepted {
		missing[subject] = true
	}
	if len(missing) == 0 {
		t.Error("postfix accepted no message")
	}
	miltertest.Eventually(t, "postfix delivers what it accepted", func() bool {
		for _, text := range r.Mail(t, "alice") {
			_, rest, _ := strings.Cut(text, "\nSubject: ")
			subject, _, _ := strings.Cut(rest, "\n")
			delete(missing, subject)
		}
		return len(missing) == 0
	})
	t.Logf("%d messages delivered by postfix, replies: %v", len(r.accepted), r.replies)
}
