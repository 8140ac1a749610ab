package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"milterd/cmd/milterd/internal/session"
)

// smtpHelp is the answer of simulate --smtp to HELP.
const smtpHelp = `Type what an SMTP client sends: EHLO, MAIL FROM:<...>, RCPT TO:<...>, DATA, RSET, QUIT. Nothing is delivered.
The results of the checks are shown after RCPT and after the single dot that ends a message.
AUTH NAME authenticates the user NAME. STARTTLS is accepted without TLS. Two commands are not of SMTP:
  client 192.0.2.9 mail.example.net   a new client connects, with the name that the MTA looked up
  time 2026-11-21T12:00:00Z           set the clock, for example to the end of a greylisting delay`

// converse plays the lines of in as the client's, until the end of in, QUIT or the end of ctx.
func (f *simulateFlags) converse(ctx context.Context, in io.Reader) error {
	client, err := f.sessionClient()
	if err != nil {
		return err
	}
	cfg, err := loadConfig(*f.configFile, false, f.stderr)
	if err != nil {
		return err
	}
	sim, err := newSimulator(cfg, "", f.explain)
	if err != nil {
		return err
	}
	defer sim.close()
	talk, err := session.Converse(&sim.player, client)
	if err != nil {
		return err
	}
	fmt.Fprintf(f.stdout, "S: 220 %s ESMTP, simulated for %s; HELP shows the commands\n", cfg.Hostname, client.Addr)
	echo := !isTerminal(in)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	input := readLines(ctx, in)
	for !talk.Ended() {
		select {
		case <-ctx.Done():
			return nil
		case line, ok := <-input.lines:
			if !ok {
				if talk.InMessage() {
					fmt.Fprintln(f.stdout, "(the input ended before the single dot that ends a message: the message was not checked)")
				}
				return input.err
			}
			if echo {
				fmt.Fprintf(f.stdout, "C: %s\n", printableCommand(line))
			}
			f.answerLine(talk, line)
			sim.printChecks(f.stdout)
		}
	}
	return nil
}

// answerLine plays a line and prints the reply.
func (f *simulateFlags) answerLine(talk *session.Conversation, line string) {
	if verb, _, _ := strings.Cut(line, " "); strings.EqualFold(verb, "HELP") && !talk.InMessage() {
		fmt.Fprintln(f.stdout, smtpHelp)
		return
	}
	reply, err := talk.Say(line)
	if err != nil {
		reply = []string{"500 5.5.2 " + printableLine(err.Error())}
	}
	printReply(f.stdout, reply)
}

// lineReader reads lines in the background, so that the end of a context ends the wait for one.
type lineReader struct {
	lines chan string
	err   error // why lines was closed; nil at the end of the input
}

// readLines reads the lines of in until its end or that of ctx. At a terminal it goes on to wait for a line when ctx
// has ended.
func readLines(ctx context.Context, in io.Reader) *lineReader {
	r := &lineReader{lines: make(chan string)}
	go func() {
		defer close(r.lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, maxMessage)
		for scanner.Scan() {
			select {
			case r.lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
		r.err = scanner.Err()
	}()
	return r
}
