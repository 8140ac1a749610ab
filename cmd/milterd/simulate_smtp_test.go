package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"milterd/milter/resolver/dnstest"
)

// configWithDNS writes a configuration file whose name server has a zone.
func configWithDNS(t *testing.T, zone, more string) string {
	t.Helper()
	return replayConfigFile(t, "dns: {servers: ['"+dnstest.Start(t, zone).Addr+"']}\n"+more)
}

func TestSimulateSMTP(t *testing.T) {
	t.Parallel()
	cfg := configWithDNS(t, "", "actions: {rdns-missing: greylist, helo-unresolvable: off, sender-no-domain: off, spf-fail: off}\n")
	in := strings.Join([]string{
		"EHLO mail.example.net", "MAIL FROM:<a@example.net>", "RCPT TO:<bob@example.org>", "time 2126-11-21T12:00:00Z", "DATA", "what", "help",
		"client 192.0.2.9", "EHLO 192.0.2.9", "MAIL FROM:<>", "RCPT TO:<postmaster@example.org>", "DATA", "Date: x", "help", "", ".", "QUIT", "NOOP", "",
	}, "\r\n")
	code, out, errs := runWith(t, strings.NewReader(in), "simulate", "--smtp", "-c", cfg, "--client", "192.0.2.9")
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	at := 0
	for _, want := range []string{
		"S: 220 mx.example.org ESMTP, simulated for 192.0.2.9", "C: EHLO mail.example.net\nS: 250 ok\n",
		"C: RCPT TO:<bob@example.org>\nS: 451 4.7.1 greylisted for 180 s more", "\n   rdns      connect rdns-missing (greylist): 192.0.2.9 has no reverse DNS name",
		"9.2.0.192.in-addr.arpa. PTR? no such name", "C: DATA\nS: 503 5.5.1", "C: what\nS: 500 5.5.2", "C: help\nType what an SMTP client sends", "C: client 192.0.2.9\nC: EHLO 192.0.2.9",
		"RCPT TO:<postmaster@example.org>\nS: 250", "C: help\nC: \nC: .\nS: 250 2.0.0 accepted", "S: 221",
	} {
		i := strings.Index(out[at:], want)
		if i < 0 {
			t.Fatalf("no %q in\n%s", want, out[at:])
		}
		at += i
	}
	if strings.Contains(out, "NOOP") {
		t.Errorf("commands after QUIT:\n%s", out)
	}
}

// broken is a reader that fails after a text.
type broken struct{ text string }

func (b *broken) Read(p []byte) (int, error) {
	n := copy(p, b.text)
	b.text = b.text[n:]
	if n == 0 {
		return 0, errors.New("broken input")
	}
	return n, nil
}

func TestSimulateSMTPNonsense(t *testing.T) {
	t.Parallel()
	cfg := configWithDNS(t, "", "actions: {rdns-missing: off}\n")
	const begun = "EHLO a.example\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster@example.org>\r\nDATA\r\n"
	for _, c := range []struct {
		name string
		in   io.Reader
		want string
		code int
	}{
		{"nothing", strings.NewReader(""), "HELP shows the commands\n", 0},
		{"a line that is too long", strings.NewReader("NOOP\n" + strings.Repeat("x", maxMessage+1)), "C: NOOP\nS: 250", 1},
		{"a line that is not too long", strings.NewReader("NOOP " + strings.Repeat("x", maxMessage-7) + "\r\n"), "...\nS: 250", 0},
		{"a line without an end", strings.NewReader("NOOP"), "C: NOOP\nS: 250", 0},
		{"no end of the message", strings.NewReader(begun + "Subject: x\r\n  y"), "C: Subject: x\nC:  y\n(the input ended before the single dot", 0},
		{"what a terminal would obey", strings.NewReader("\x1b[2J\x00\xff\r\n"), "C: ?[2J??\nS: 500 5.5.2 unknown command\n", 0},
		{"help with a topic", strings.NewReader("HELP rcpt\n"), "C: HELP rcpt\nType what an SMTP client sends", 0},
		{"an input that breaks", &broken{"NOOP\r\nNOO"}, "C: NOOP\nS: 250 2.0.0 ok\n", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := runWith(t, c.in, "simulate", "--smtp", "-c", cfg, "--client", "192.0.2.9")
			if code != c.code || !strings.Contains(out, c.want) || (errs != "") != (code != 0) {
				t.Errorf("exit code %d, %s: no %q in\n%.2000s", code, errs, c.want, out)
			}
		})
	}
}

// TestSimulateSMTPEnds tests that an interrupt ends the simulation while it waits for input.
func TestSimulateSMTPEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	in, unused := io.Pipe() // blocks readers
	defer unused.Close()
	cmd := newRoot(defaultConfigFile)
	cmd.SetArgs([]string{"simulate", "--smtp", "--client", "192.0.2.9", "-c", configWithDNS(t, "", "")})
	cmd.SetIn(in)
	cmd.SetOut(writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })) // at the greeting
	if err := cmd.ExecuteContext(ctx); err != nil {
		t.Error(err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
