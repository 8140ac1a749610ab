package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/cmd/milterd/internal/admin"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/session"
)

// simulateFlags are the flags of simulate, with the outputs.
type simulateFlags struct {
	remote
	client, name, helo, from, auth, message, milter, record string
	rcpts                                                   []string
	explain, smtp, live                                     bool

	stdout, stderr io.Writer
}

func newSimulate(configFile *string) *cobra.Command {
	f := simulateFlags{remote: remote{configFile: configFile}}
	cmd := &cobra.Command{
		Use:   "simulate [flags] [FILE.session]...",
		Short: "Run an SMTP session through the checks and show their results",
		Long: `Run an SMTP session through the checks. For each reply, show every check, its DNS questions and their answers, what it found and
the time that it took. The checks ask their DNS questions one after the other, while the daemon asks them in advance. Where
callouts are on, the mail hosts of the sender are asked too.

The session is given by flags, or by session files. A session file has its own DNS and the expected replies. The exit status is 1
if a reply differs. With --milter, the session is played to a running daemon, with the configuration and the DNS of the daemon.
With --live, the daemon plays it with all that it knows: its blocks, lists, greylist and evidence, none of which changes.

With --record, a session of the running daemon is written as a session file, with its DNS answers; the local parts of recipients are
replaced. A complaint becomes a test that way, see check-config --sessions.

With --smtp, type the SMTP commands of the client. With --explain, each reason that applied is explained.`,
		Example: `  milterd simulate --client 192.0.2.9 --helo mail.example.net --from a@example.net --rcpt user@example.org
  milterd simulate --explain examples/*.session
  milterd simulate --smtp --client 192.0.2.9
  milterd simulate --record oo2f2hjqv5ct >complaint.session`,
		RunE: func(cmd *cobra.Command, paths []string) error {
			f.stdout, f.stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if err := f.validate(cmd, paths); err != nil {
				return err
			}
			if f.record != "" {
				return f.writeRecorded(cmd.Context())
			}
			if f.smtp {
				return f.converse(cmd.Context(), cmd.InOrStdin())
			}
			return f.run(cmd.Context(), paths)
		},
	}
	f.addTo(cmd)
	return cmd
}

// sessionFlags are the flags that describe a session.
var sessionFlags = []string{"client", "name", "helo", "from", "rcpt", "auth", "message"}

// addTo adds the flags to a command.
func (f *simulateFlags) addTo(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.client, "client", "", "`ADDRESS` of the client")
	fl.StringVar(&f.name, "name", "", "`NAME` of the client that the MTA looked up, which is only shown")
	fl.StringVar(&f.helo, "helo", "", "HELO `NAME`; empty: no HELO command")
	fl.StringVar(&f.from, "from", "", "reverse-path `ADDRESS`; empty: the null reverse-path")
	fl.StringArrayVar(&f.rcpts, "rcpt", nil, "recipient `ADDRESS`; may be repeated")
	fl.StringVar(&f.auth, "auth", "", "authenticated `USER`")
	fl.StringVar(&f.message, "message", "", "message `FILE` (RFC 5322), - for standard input; without it the session ends after RCPT")
	fl.BoolVar(&f.json, "json", false, "print one JSON object")
	fl.StringVar(&f.milter, "milter", "", "play the session to the daemon that listens on `ADDRESS`, as in the key listen")
	fl.BoolVar(&f.explain, "explain", false, "show the meaning of each reason that applied, and what the sender can do")
	fl.BoolVar(&f.smtp, "smtp", false, "read SMTP commands from standard input, of the client that --client and --name give")
	fl.BoolVar(&f.live, "live", false, "use the configuration, DNS, lists, blocks, greylist and evidence of the running daemon, and change nothing")
	fl.StringVar(&f.socket, "socket", "", "admin `SOCKET` of the daemon for --live and --record (default: admin.socket of the configuration, or "+config.DefaultAdminSocket+")")
	fl.StringVar(&f.record, "record", "", "write the session with this `ID`, as in the log, as a session file")
	cmd.MarkFlagsMutuallyExclusive("milter", "json", "explain")
	for _, name := range append([]string{"live", "smtp", "milter", "json", "explain"}, sessionFlags...) {
		cmd.MarkFlagsMutuallyExclusive("record", name)
	}
	for _, name := range []string{"smtp", "milter", "explain"} {
		cmd.MarkFlagsMutuallyExclusive("live", name)
	}
	for _, name := range []string{"milter", "json", "helo", "from", "rcpt", "auth", "message"} {
		cmd.MarkFlagsMutuallyExclusive("smtp", name)
	}
}

// validate returns an error for flags and arguments that exclude each other.
func (f *simulateFlags) validate(cmd *cobra.Command, paths []string) error {
	switch {
	case f.record != "" && len(paths) > 0:
		return checks.BadArgument("--record takes no session files")
	case f.record != "":
		return nil
	case f.smtp && len(paths) > 0:
		return checks.BadArgument("--smtp takes no session files")
	case f.json && len(paths) > 1:
		return checks.BadArgument("--json takes one session, not %d", len(paths))
	case len(paths) == 0 && f.client == "" && len(f.rcpts) == 0 && !f.smtp:
		return checks.BadArgument("simulate: want a session: --client and --rcpt, session files, or --smtp with --client")
	case len(paths) == 0:
		return nil
	}
	for _, name := range sessionFlags {
		if cmd.Flags().Changed(name) {
			return checks.BadArgument("--%s cannot be used with a session file", name)
		}
	}
	return nil
}

// run plays the session of the flags, or session files.
func (f *simulateFlags) run(ctx context.Context, paths []string) error {
	if len(paths) == 0 {
		script, err := f.script()
		if err != nil {
			return err
		}
		_, err = f.play(ctx, script)
		return err
	}
	failed := 0
	for _, path := range paths {
		script, err := session.Read(path)
		if err != nil {
			return err
		}
		if !f.json {
			fmt.Fprintf(f.stdout, "# %s\n# %s\n", path, strings.ReplaceAll(script.Title, "\n", "\n# "))
		}
		wrong, err := f.play(ctx, script)
		if err != nil {
			return err
		}
		if len(wrong) > 0 {
			failed++
		}
	}
	if failed > 0 {
		fmt.Fprintf(f.stderr, "milterd: %d of %d sessions had other replies than expected\n", failed, len(paths))
		return errReported
	}
	return nil
}

// play plays a script and prints the result. It returns the replies that were not the expected ones.
func (f *simulateFlags) play(ctx context.Context, script *session.Script) (wrong []*session.Mismatch, err error) {
	switch {
	case f.milter != "":
		wrong, err = f.playOverSocket(script)
	case f.live:
		wrong, err = f.playLive(ctx, script)
	default:
		wrong, err = f.playHere(script)
	}
	if err != nil {
		return nil, err
	}
	if !f.json {
		for _, m := range wrong {
			fmt.Fprintln(f.stdout, m)
		}
	}
	return wrong, nil
}

// playHere plays a script through a pipeline in this process.
func (f *simulateFlags) playHere(script *session.Script) ([]*session.Mismatch, error) {
	cfg, err := f.config(script)
	if err != nil {
		return nil, err
	}
	sim, err := newSimulator(cfg, script.Zone, f.explain)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", script.Name, err)
	}
	defer sim.close()
	if f.json {
		wrong, err := session.Play(script, &sim.player, nil)
		if err != nil {
			return nil, err
		}
		return wrong, sim.result.finish(wrong).write(f.stdout)
	}
	return sim.play(script, f.stdout)
}

// config returns the configuration of a script, or else that of the configuration file.
func (f *simulateFlags) config(script *session.Script) (*config.Config, error) {
	if script.Config == nil {
		return loadConfig(*f.configFile, false, f.stderr)
	}
	cfg, problems := config.Parse(script.Name, script.Config, all.Checks)
	return cfg, printProblems(problems, false, f.stderr)
}

// socketTimeout is the timeout of one answer of a running daemon. It is longer than the daemon's own.
const socketTimeout = 30 * time.Second

// playOverSocket plays a script to a running daemon.
func (f *simulateFlags) playOverSocket(script *session.Script) ([]*session.Mismatch, error) {
	l, err := config.ParseListener(f.milter)
	if err != nil {
		return nil, checks.BadArgument("--milter: %v", err)
	}
	player := &session.Socket{Network: l.Network, Address: l.Address, Timeout: socketTimeout}
	wrong, err := session.Play(script, player, func(command string, reply []string) { printExchange(f.stdout, command, reply) })
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		err = &admin.NoDaemon{Err: fmt.Errorf("no daemon answers at %s: is milterd running (systemctl status milterd), and does it listen there?", f.milter)}
	}
	return wrong, err
}

// script returns the session of the flags.
func (f *simulateFlags) script() (*session.Script, error) {
	client, err := f.sessionClient()
	if err != nil {
		return nil, err
	}
	if len(f.rcpts) == 0 {
		return nil, checks.BadArgument("--rcpt: want a recipient")
	}
	s := &session.Script{Name: "command line", Steps: []session.Step{{Client: client}}}
	say := func(line string) { s.Steps = append(s.Steps, session.Step{Say: line, Said: true}) }
	if f.helo != "" {
		say("EHLO " + f.helo)
	}
	if f.auth != "" {
		say("AUTH " + f.auth)
	}
	say("MAIL FROM:" + inBrackets(f.from))
	for _, r := range f.rcpts {
		say("RCPT TO:" + inBrackets(r))
	}
	if f.message == "" {
		return s, nil
	}
	message, err := readMessage(f.message)
	if err != nil {
		return nil, err
	}
	say("DATA")
	for rest := message; ; {
		line, after, _ := strings.Cut(rest, "\n")
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			s.Steps = append(s.Steps, session.Step{Say: ".", Said: true, Rest: rest})
			return s, nil
		}
		if strings.HasPrefix(line, ".") {
			line = "." + line
		}
		say(line)
		rest = after
	}
}

// sessionClient returns the client of the flags.
func (f *simulateFlags) sessionClient() (session.Client, error) {
	if f.client == "" {
		return session.Client{}, checks.BadArgument("--client: want the address of the client")
	}
	addr, err := netip.ParseAddr(f.client)
	if err != nil {
		return session.Client{}, checks.BadArgument("--client: %q is no address", f.client)
	}
	return session.Client{Addr: addr.Unmap(), Name: f.name}, nil
}

func inBrackets(address string) string {
	if strings.HasPrefix(address, "<") {
		return address
	}
	return "<" + address + ">"
}

// maxMessage is the size of the largest message, in bytes. MTAs accept less by default.
const maxMessage = 64 << 20

func readMessage(path string) (string, error) {
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return "", checks.WithoutCall(err)
		}
		defer file.Close()
	}
	text, err := io.ReadAll(io.LimitReader(file, maxMessage+1))
	if err == nil && len(text) > maxMessage {
		err = fmt.Errorf("%s: over %d MiB", path, maxMessage>>20)
	}
	return string(text), err
}
