package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"milterd/checks"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/session"
	"milterd/milter/store"
)

// trial is a pipeline in this process that shows what its checks say.
type trial struct {
	player  session.Pipeline
	result  outcome
	explain bool // as a story

	records *store.Store
	pending []decided
}

// decided is a decision, with the session as it was then.
type decided struct {
	checks.Decision
	session checks.Session
	trusted bool
}

// newTrial makes a trial of a configuration. In a world that is made up nobody outside can be connected to.
func newTrial(cfg *config.Config, dns checks.Resolver, madeUp bool) (*trial, error) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	t := &trial{player: session.Pipeline{Now: time.Now}}
	t.records = store.NewMemory(t.player.Clock)
	env := checks.Env{DNS: dns, Store: t.records, Log: logrus.NewEntry(log)}
	if !madeUp {
		env.Dial = new(net.Dialer).DialContext
	}
	p, err := newPipeline(cfg, env, func(o *checks.Options) { o.Trace = checks.TraceAll })
	if err != nil {
		t.close()
		return nil, err
	}
	p.Maintain(context.Background(), t.player.Clock())
	t.player.Pipeline = p
	t.player.Decided = func(s *checks.Request, d checks.Decision) {
		t.result.add(d)
		if s.Trusted() {
			t.result.Trusted = true
		}
		t.pending = append(t.pending, decided{Decision: d, session: *s.Session, trusted: s.Trusted()})
	}
	return t, nil
}

func (t *trial) close() { _ = t.records.Close() } // it is in memory

// show shows a line of the client, the reply to it, and what led to that.
func (t *trial) show(w io.Writer, said string, reply []string) {
	printDialogue(w, said, reply)
	t.showChecks(w)
}

func (t *trial) showChecks(w io.Writer) {
	for _, d := range t.pending {
		if t.explain {
			tell(w, d)
		} else {
			printResults(w, d.Decision)
		}
	}
	t.pending = nil
}

// help is what simulate --smtp says on HELP.
const help = `Say what a client says: EHLO, MAIL FROM:<...>, RCPT TO:<...>, DATA, RSET, QUIT. Nothing is delivered.
Checks are shown where they decide: after RCPT, and after the single dot that ends a message.
AUTH NAME authenticates as NAME, STARTTLS pretends to. Two lines are no SMTP:
  client 192.0.2.9 mail.example.net   connects anew, with the name that the MTA found
  time 2026-11-21T12:00:00Z           sets the clock, for greylisting`

// converse has somebody type SMTP. The end of the input, QUIT or an interrupt ends it.
func (f simulation) converse(ctx context.Context, configFile string, in io.Reader, stdout, stderr io.Writer) error {
	client, err := f.connects()
	if err != nil {
		return err
	}
	cfg, err := loadConfig(configFile, false, stderr)
	if err != nil {
		return err
	}
	dns, err := newResolver(cfg.DNS)
	if err != nil {
		return err
	}
	defer dns.Close()
	t, err := newTrial(cfg, dns, false)
	if err != nil {
		return err
	}
	defer t.close()
	t.explain = f.explain
	talk, err := session.Converse(&t.player, client)
	if err != nil {
		return err
	}
	t.pending = nil
	echo := !isTerminal(in)
	fmt.Fprintf(stdout, "S: 220 %s ESMTP, a trial as %s; HELP helps\n", cfg.Hostname, client.Addr)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	input := lines(ctx, in)
	for !talk.Ended() {
		select {
		case <-ctx.Done():
			return nil
		case line, ok := <-input:
			switch {
			case !ok:
				if talk.InMessage() {
					fmt.Fprintln(stdout, "(the input ended in the message: a single dot ends one; nothing of it was checked)")
				}
				return nil
			case line.err == errLongLine:
				fmt.Fprintf(stdout, "S: 500 5.5.2 %s\n", line.err)
				continue
			case line.err != nil:
				return line.err
			}
			if echo {
				fmt.Fprintf(stdout, "C: %s\n", shown(line.text))
			}
			t.answer(stdout, talk, line.text)
		}
	}
	return nil
}

// answer answers a line that was typed.
func (t *trial) answer(w io.Writer, talk *session.Conversation, line string) {
	if verb, _, _ := strings.Cut(line, " "); strings.EqualFold(verb, "HELP") && !talk.InMessage() {
		fmt.Fprintln(w, help)
		return
	}
	reply, err := talk.Say(line)
	if err != nil {
		reply = []string{"500 5.5.2 " + checks.Clean(err.Error(), shownLine)}
	}
	for _, r := range reply {
		fmt.Fprintf(w, "S: %s\n", r)
	}
	t.showChecks(w)
}

// typed is a line of the input, or why there is none.
type typed struct {
	text string
	err  error
}

// lines reads lines until the input or the context ends. A terminal at which nobody types is read on until the process ends.
func lines(ctx context.Context, in io.Reader) <-chan typed {
	out := make(chan typed)
	go func() {
		defer close(out)
		r := bufio.NewReader(in)
		for {
			text, err := readLine(r)
			if err == io.EOF && text == "" {
				return
			}
			if err == io.EOF {
				err = nil // the last line need not end
			}
			select {
			case out <- typed{text, err}:
			case <-ctx.Done():
				return
			}
			if err != nil && err != errLongLine {
				return
			}
		}
	}()
	return out
}

var errLongLine = errors.New("line too long")

// readLine reads a line, without its end. Of one that is too long nothing is returned, and the next one can be read.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxMessage; !long {
			line = append(line, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
		case long && (err == nil || err == io.EOF):
			return "", errLongLine
		default:
			return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), err
		}
	}
}

// isTerminal tells whether somebody sits at the other end of a file.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
