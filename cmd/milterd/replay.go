package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/cmd/milterd/internal/mailbox"
	"milterd/cmd/milterd/internal/received"
	"milterd/cmd/milterd/internal/replay"
)

// replaying is what the flags of replay say.
type replaying struct {
	against, dns, html string
	json               bool
}

func newReplay(configFile *string) *cobra.Command {
	var f replaying
	cmd := &cobra.Command{
		Use:   "replay [flags] PATH...",
		Short: "Judge stored mail by a configuration, to see what it would refuse",
		Long: `Judge stored mail as if it came now: mbox files, Maildirs, folders of messages, single messages, and the log that milterd has
written. Nothing is sent to anyone but DNS questions, and nothing that the daemon remembers is touched.

Who delivered a message, as whom, to whom and when is read from the trace fields (Received, Return-Path, Delivered-To,
X-Original-To, Authentication-Results, Received-SPF) that the site's border wrote: the host that is called as hostname, or has
one of local_domains, in the configuration. With --against each configuration reads that for itself, with its own trusted
networks. What a message does not tell is not judged, and the report counts that.

A log is a file of syslog, of what "journalctl -u milterd" prints, or of what "milterd log --json --max 0" prints. It has the attempts
that were refused too, and the retries, but no header sections: what is judged by those is not. Nor has it why a client was
trusted: with --against, where one configuration trusts its network and the other one does not, it was for that. Each recipient
of an attempt counts as a message. A file may be compressed by gzip; what it is shows in its content, not in its name.

The DNS answers as of today, which may be harsh on old mail; --dns none judges what needs no DNS, and --dns record=FILE writes the
answers to a file and takes them from there the next time. Greylisting and counting go by the mail's own time, over the
whole archive, however its files are sorted; of a large one the header sections wait in the folder for temporary files
($TMPDIR) meanwhile. Each message is one attempt: retries are not in an archive of mail.

Ctrl-C while reading has what was read judged; then, or again, it ends that too. The report is on what was judged.`,
		Example: `  milterd replay -c new.yaml ~/Maildir
  milterd replay -c milterd.yaml --against new.yaml --dns record=answers /var/mail/archive.mbox --html report.html
  milterd replay -c new.yaml /var/log/mail.log*`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("replay what? Want an mbox file, a Maildir, a folder of messages, or a log of milterd")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, paths []string) error {
			return f.run(cmd.Context(), *configFile, paths, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.against, "against", "", "compare with another configuration `FILE`: which differences change the fate of which mail")
	fl.StringVar(&f.dns, "dns", "live", "`ANSWERS` of the DNS: live, none, or record=FILE")
	fl.BoolVar(&f.json, "json", false, "print one JSON object, with all messages")
	fl.StringVar(&f.html, "html", "", "write the report to `FILE` too, as one page with charts")
	return cmd
}

func (f replaying) run(ctx context.Context, configFile string, paths []string, stdout, stderr io.Writer) error {
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return err // a slip of the pen; what goes wrong later is in the report
		}
	}
	opts := replay.Options{Paths: paths, Now: time.Now(), Workers: replay.Workers()}
	var err error
	if opts.Config, err = replayConfig(configFile, stderr); err != nil {
		return err
	}
	if f.against != "" {
		against, err := replayConfig(f.against, stderr)
		if err != nil {
			return err
		}
		opts.Against = &against
	}
	var end func()
	if opts.DNS, end, err = f.resolver(configFile, stderr); err != nil {
		return err
	}
	defer end()
	page, err := f.page()
	if err != nil {
		return err
	}
	if page != nil {
		defer func() { _ = page.Close() }() // closed before, if all went well
	}
	opts.Judging = func(ctx context.Context) context.Context { return afterInterrupt(ctx, stderr) }
	bar := progressBar(paths, stderr)
	if bar != nil {
		opts.Progress = bar.Show
	}
	report, err := replay.Run(ctx, opts)
	if bar != nil {
		bar.Clear()
	}
	if err != nil {
		return err
	}
	defer report.Close()
	if err := f.print(report, page, stdout); err != nil {
		return err
	}
	if report.Interrupted {
		return errReported // the report says so; a script must not take it for the whole
	}
	return nil
}

// page makes the file of the HTML report, before the work begins that would be lost without it.
func (f replaying) page() (*os.File, error) {
	if f.html == "" {
		return nil, nil
	}
	return os.Create(f.html)
}

func (f replaying) print(report *replay.Report, page *os.File, stdout io.Writer) error {
	if page != nil {
		if err := report.HTML(page); err != nil {
			return err
		}
		if err := page.Close(); err != nil {
			return err
		}
	}
	if f.json {
		return report.JSON(stdout)
	}
	return report.Text(stdout)
}

// replayConfig loads a configuration file for a replay.
func replayConfig(file string, stderr io.Writer) (replay.Config, error) {
	cfg, err := loadConfig(file, false, stderr)
	if err != nil {
		return replay.Config{}, err
	}
	c := replay.Config{
		Name: file,
		Site: received.Site{Hostname: cfg.Hostname, Domains: cfg.LocalDomains, Trusted: loopback(cfg.Policy.Trusted.Networks)},
		Build: func(env checks.Env) ([]checks.Instance, checks.Options, error) {
			return newChecks(cfg, env)
		},
	}
	if file != "" {
		c.Text, err = os.ReadFile(file)
	}
	return c, err
}

// loopback adds this machine to the trusted networks: a content filter on it hands mail back to the MTA. Who trusts no network
// does not trust that one.
func loopback(trusted []netip.Prefix) []netip.Prefix {
	if len(trusted) == 0 {
		return nil
	}
	return append([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, trusted...)
}

// resolver is what answers for the DNS.
func (f replaying) resolver(configFile string, stderr io.Writer) (checks.Resolver, func(), error) {
	if f.dns == "none" {
		return replay.Nobody{}, func() {}, nil
	}
	file, record := strings.CutPrefix(f.dns, "record=")
	if f.dns != "live" && (!record || file == "") {
		return nil, nil, fmt.Errorf("--dns: %q is none of live, none, record=FILE", f.dns)
	}
	cfg, err := loadConfig(configFile, false, stderr)
	if err != nil {
		return nil, nil, err
	}
	live, err := newResolver(cfg.DNS)
	if err != nil {
		return nil, nil, err
	}
	if !record {
		return live, live.Close, nil
	}
	recording, err := replay.OpenRecording(file, live)
	if err != nil {
		live.Close()
		return nil, nil, fmt.Errorf("--dns: %w", err)
	}
	return recording, func() {
		live.Close()
		_ = recording.Close() // all is written
	}, nil
}

// afterInterrupt is the context for judging what was read: if reading was interrupted, the next interrupt ends it.
func afterInterrupt(ctx context.Context, stderr io.Writer) context.Context {
	if ctx.Err() == nil {
		return ctx
	}
	fmt.Fprintln(stderr, "\nmilterd: interrupted: what was read is judged; once more ends that too")
	again, stop := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(again, stop)
	return again
}

// progressBar is nil if nobody sees it.
func progressBar(paths []string, stderr io.Writer) *replay.Bar {
	if !isTerminal(stderr) {
		return nil
	}
	bar := &replay.Bar{W: stderr, Now: time.Now}
	for f := range mailbox.Walk(paths) {
		bar.Total += f.Size
	}
	return bar
}
