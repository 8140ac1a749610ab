package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/checktest"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/session"
)

// simulation is what the flags say.
type simulation struct {
	client, name, helo, from, auth, message, socket string
	rcpts                                           []string
	json, explain, smtp                             bool
}

// socketTimeout is for one answer of a running daemon: over its budget.
const socketTimeout = 30 * time.Second

func newSimulate(configFile *string) *cobra.Command {
	var f simulation
	cmd := &cobra.Command{
		Use:   "simulate [flags] [FILE.session]...",
		Short: "Run a session through the checks and show what they say",
		Long: `Run one session, given by flags, through the checks: shows every check, what it asked the DNS, what it found, how long it
took, and the reply. DNS questions are asked one after the other; the daemon asks ahead. Where callouts are on, the mail hosts
of the sender are asked too.

With session files, plays those: each brings its own DNS and says which replies it expects; the exit code is 1 if one is
another. With --socket the files are played against a running daemon, which goes by its own configuration and DNS.

With --smtp you are the client: type SMTP, and see what each check says. With --explain the checks are told as a story.`,
		Example: `  milterd simulate --client 192.0.2.9 --helo mail.example.net --from a@example.net --rcpt user@example.org
  milterd simulate --explain examples/*.session
  milterd simulate --smtp --client 192.0.2.9`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.fits(cmd, args); err != nil {
				return err
			}
			if f.smtp {
				return f.converse(cmd.Context(), *configFile, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			if len(args) == 0 {
				return f.one(*configFile, cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			return f.files(*configFile, args, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.client, "client", "", "`ADDRESS` of the client")
	fl.StringVar(&f.name, "name", "", "reverse `NAME` of the client as the MTA found it, for show")
	fl.StringVar(&f.helo, "helo", "", "HELO `NAME`; empty: none is said")
	fl.StringVar(&f.from, "from", "", "reverse-path `ADDRESS`; empty: the null reverse-path")
	fl.StringArrayVar(&f.rcpts, "rcpt", nil, "recipient `ADDRESS`; may be repeated")
	fl.StringVar(&f.auth, "auth", "", "authenticated `USER`")
	fl.StringVar(&f.message, "message", "", "message `FILE` (RFC 5322), \"-\" for standard input; without one the session ends at RCPT")
	fl.BoolVar(&f.json, "json", false, "print one JSON object")
	fl.StringVar(&f.socket, "socket", "", "play session files against the daemon at `ADDRESS` (as listen in the configuration)")
	fl.BoolVar(&f.explain, "explain", false, "tell what the checks found as a story, with what the sender can do about it")
	fl.BoolVar(&f.smtp, "smtp", false, "read SMTP from standard input, as the client that --client and --name tell")
	cmd.MarkFlagsMutuallyExclusive("socket", "json", "explain")
	for _, name := range []string{"socket", "json", "helo", "from", "rcpt", "auth", "message"} {
		cmd.MarkFlagsMutuallyExclusive("smtp", name)
	}
	return cmd
}

// fits tells what flags and arguments do not go together.
func (f simulation) fits(cmd *cobra.Command, args []string) error {
	if f.smtp && len(args) > 0 {
		return fmt.Errorf("--smtp goes without session files")
	}
	if f.json && len(args) > 1 {
		return fmt.Errorf("--json is for one session, not %d", len(args))
	}
	if len(args) == 0 {
		if f.client == "" && len(f.rcpts) == 0 && !f.smtp {
			return errors.New("simulate what? Want a session by --client and --rcpt, session files, or --smtp with --client")
		}
		return nil
	}
	for _, name := range []string{"client", "name", "helo", "from", "rcpt", "auth", "message"} {
		if cmd.Flags().Changed(name) {
			return fmt.Errorf("--%s goes without a session file: %s says what is said", name, args[0])
		}
	}
	return nil
}

// connects is the client of the flags.
func (f simulation) connects() (session.Client, error) {
	if f.client == "" {
		return session.Client{}, errors.New("--client: want the address of the client")
	}
	addr, err := netip.ParseAddr(f.client)
	if err != nil {
		return session.Client{}, fmt.Errorf("--client: %q is no address", f.client)
	}
	return session.Client{Addr: addr.Unmap(), Name: f.name}, nil
}

// script makes the dialogue that the flags describe.
func (f simulation) script() (*session.Script, error) {
	client, err := f.connects()
	if err != nil {
		return nil, err
	}
	if len(f.rcpts) == 0 {
		return nil, fmt.Errorf("--rcpt: want a recipient")
	}
	s := &session.Script{Name: "command line"}
	say := func(lines ...string) {
		for _, l := range lines {
			s.Steps = append(s.Steps, session.Step{Say: l, Said: true})
		}
	}
	s.Steps = append(s.Steps, session.Step{Client: client})
	if f.helo != "" {
		say("EHLO " + f.helo)
	}
	if f.auth != "" {
		say("AUTH " + f.auth)
	}
	say("MAIL FROM:" + bracket(f.from))
	for _, r := range f.rcpts {
		say("RCPT TO:" + bracket(r))
	}
	if f.message == "" {
		return s, nil
	}
	message, err := readMessage(f.message)
	if err != nil {
		return nil, err
	}
	say("DATA")
	head, _, _ := strings.Cut(strings.ReplaceAll(message, "\r\n", "\n"), "\n\n")
	for line := range strings.SplitSeq(head, "\n") {
		if strings.HasPrefix(line, ".") {
			line = "." + line
		}
		say(line)
	}
	say(".")
	return s, nil
}

func bracket(address string) string {
	if strings.HasPrefix(address, "<") {
		return address
	}
	return "<" + address + ">"
}

// maxMessage is how much of a message is read, in octets: the header section is all that is looked at.
const maxMessage = 8 << 20

func readMessage(path string) (string, error) {
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return "", err
		}
		defer file.Close()
	}
	text, err := io.ReadAll(io.LimitReader(file, maxMessage))
	return string(text), err
}

// one plays the session of the flags.
func (f simulation) one(configFile string, stdout, stderr io.Writer) error {
	script, err := f.script()
	if err != nil {
		return err
	}
	if f.socket != "" {
		return f.overSocket(script, stdout)
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
	_, err = f.play(script, cfg, dns, stdout)
	return err
}

// files plays session files and tells which did not go as expected.
func (f simulation) files(configFile string, paths []string, stdout, stderr io.Writer) error {
	bad := 0
	for _, path := range paths {
		script, err := session.Read(path)
		if err != nil {
			return err
		}
		if !f.json {
			fmt.Fprintf(stdout, "# %s\n# %s\n", path, strings.ReplaceAll(script.Title, "\n", "\n# "))
		}
		if f.socket != "" {
			err = f.overSocket(script, stdout)
		} else {
			err = f.file(script, configFile, stdout, stderr)
		}
		if err == errReported {
			bad++
			continue
		}
		if err != nil {
			return err
		}
	}
	if bad > 0 {
		fmt.Fprintf(stderr, "milterd: %d of %d sessions went otherwise than expected\n", bad, len(paths))
		return errReported
	}
	return nil
}

// file plays one session file in this process: with its own zone, or else the live DNS.
func (f simulation) file(script *session.Script, configFile string, stdout, stderr io.Writer) error {
	cfg, err := f.configOf(script, configFile, stderr)
	if err != nil {
		return err
	}
	var dns checks.Resolver
	if script.Zone != "" {
		if dns, err = checktest.ParseZone(script.Zone); err != nil {
			return fmt.Errorf("%s: zone: %w", script.Name, err)
		}
	} else {
		r, err := newResolver(cfg.DNS)
		if err != nil {
			return err
		}
		defer r.Close()
		dns = r
	}
	wrong, err := f.play(script, cfg, dns, stdout)
	if err != nil {
		return err
	}
	return f.report(wrong, stdout)
}

func (f simulation) configOf(script *session.Script, configFile string, stderr io.Writer) (*config.Config, error) {
	if script.Config == nil {
		return loadConfig(configFile, false, stderr)
	}
	cfg, problems := config.Parse(script.Name, script.Config, all.Checks)
	for _, p := range problems {
		if !p.Warning {
			fmt.Fprintln(stderr, p)
		}
	}
	if problems.Err() != nil {
		return nil, errReported
	}
	return cfg, nil
}

// report prints the replies that were not as expected; JSON has them already.
func (f simulation) report(wrong []*session.Mismatch, stdout io.Writer) error {
	for _, m := range wrong {
		if !f.json {
			fmt.Fprintln(stdout, m)
		}
	}
	if len(wrong) > 0 {
		return errReported
	}
	return nil
}

// play runs a script through a pipeline and shows it.
func (f simulation) play(script *session.Script, cfg *config.Config, dns checks.Resolver, stdout io.Writer) ([]*session.Mismatch, error) {
	t, err := newTrial(cfg, dns, script.Zone != "")
	if err != nil {
		return nil, err
	}
	defer t.close()
	t.explain = f.explain
	wrong, err := session.Play(script, &t.player, func(said string, reply []string) {
		if !f.json {
			t.show(stdout, said, reply)
		}
	})
	if err != nil {
		return wrong, err
	}
	if f.json {
		for _, m := range wrong {
			t.result.Wrong = append(t.result.Wrong, jsonWrong{m.Line, m.Want, m.Got})
		}
		enc := json.NewEncoder(stdout)
		enc.SetEscapeHTML(false)
		return wrong, enc.Encode(t.result.finish())
	}
	if t.result.Trusted {
		fmt.Fprintln(stdout, "(trusted: not checked)")
	}
	return wrong, nil
}

// overSocket plays a script against a running daemon and shows the dialogue.
func (f simulation) overSocket(script *session.Script, stdout io.Writer) error {
	l, err := config.ParseListener(f.socket)
	if err != nil {
		return fmt.Errorf("--socket: %w", err)
	}
	player := &session.Socket{Network: l.Network, Address: l.Address, Timeout: socketTimeout}
	wrong, err := session.Play(script, player, func(said string, reply []string) { printDialogue(stdout, said, reply) })
	if err != nil {
		return err
	}
	return f.report(wrong, stdout)
}
