package main

import (
	"context"
	"errors"
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
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/received"
	"milterd/cmd/milterd/internal/replay"
)

// replayFlags are the flags of replay.
type replayFlags struct {
	against, dns, html string
	json               bool
}

// replayPaths says what the paths of replay lead to.
const replayPaths = "an mbox file, a Maildir, a folder of messages, or the output of milterd log --json"

func newReplay(configFile *string) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay [flags] PATH...",
		Short: "Judge stored mail by a configuration and report what it would refuse",
		Long: `Judge stored mail as if it were received now: mbox files, Maildirs, folders of messages, single messages, and the records of
milterd. Only DNS questions are sent, and the running daemon is not involved.

The client, the HELO name, the sender, the recipient and the time of a message are read from the trace fields (Received,
Return-Path, Delivered-To, X-Original-To, Authentication-Results, Received-SPF) that a host of the site wrote: a host whose name
is the hostname of the configuration, or under one of its local_domains. With --against, each configuration reads them with its
own names and trusted networks. Where a message lacks one of these, the checks that need it do not judge it; the report counts
such messages. If no host of the site received a message, its time is that of the topmost Received field that has another host as
the client.

Records are what "milterd log --json --max 0" prints. They include refused attempts and retries, but no header sections, so that
checks of the header do not judge them. Each recipient of an attempt counts as a message.

Files may be compressed by gzip. The kind of a file is recognized by its content, not by its name. Files in a folder that are not
mail are left out. If no message can be judged, the exit status is 1.

The DNS answers are those of today, so old mail may be refused that was accepted. DKIM signatures are judged by the time of the
message; one whose key is not in the DNS any more is not judged, and the report counts such messages. With --dns none the DNS is not
asked. With --dns record=FILE the answers are written to a file, and the next replay reads them from there.

Messages are judged in the order in which they were received. The clock of greylisting and counters is the time of the message.
Each message is one attempt, because an archive of mail has no retries. The header sections, and the bodies of messages with a
DKIM signature, are copied to a temporary file in $TMPDIR.

Ctrl-C ends reading, and the messages that were read are judged. A second Ctrl-C ends that too. The report is about the messages
that were judged.`,
		Example: `  milterd replay -c new.yaml ~/Maildir
  milterd replay -c milterd.yaml --against new.yaml --dns record=answers /var/mail/archive.mbox --html report.html
  milterd log --json --max 0 >log.json && milterd replay -c new.yaml log.json`,
		Args: wantPaths(replayPaths),
		RunE: func(cmd *cobra.Command, paths []string) error {
			return f.run(cmd.Context(), *configFile, paths, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.against, "against", "",
		"compare with another configuration `FILE`, and report which differences change the results of which messages")
	fl.StringVar(&f.dns, "dns", "live", "where DNS `ANSWERS` come from: live, none, or record=FILE")
	fl.BoolVar(&f.json, "json", false, "print one JSON object, with all messages")
	fl.StringVar(&f.html, "html", "", "also write the report to `FILE`, as one page with charts")
	return cmd
}

func (f replayFlags) run(ctx context.Context, configFile string, paths []string, stdout, stderr io.Writer) error {
	if err := checkPaths(paths); err != nil { // later errors are in the report
		return err
	}
	opts, closeDNS, err := f.options(configFile, stderr)
	if err != nil {
		return err
	}
	defer closeDNS()
	opts.Paths = paths
	var page *os.File
	if f.html != "" {
		if page, err = os.Create(f.html); err != nil { // before the replay, so that an error costs no time
			return checks.WithoutCall(err)
		}
		defer func() { _ = page.Close() }() // print closes it, unless there was an error before
	}
	opts.Judging = func(ctx context.Context) context.Context { return afterInterrupt(ctx, stderr) }
	var bar *replay.Bar // nil if stderr is not a terminal
	if isTerminal(stderr) {
		bar = &replay.Bar{W: stderr, Now: time.Now}
		opts.Progress = bar.Show
	}
	report, err := replay.Run(ctx, opts)
	if bar != nil {
		bar.Clear()
	}
	if err != nil {
		return err
	}
	if err := f.print(report, page, stdout); err != nil {
		return err
	}
	switch {
	case report.Interrupted:
		return errReported // it is in the report
	case report.Messages == 0:
		return fmt.Errorf("no message was found in %s: want %s", strings.Join(paths, " and "), replayPaths)
	case report.Judged == 0 && (f.against == "" || report.Trusted == 0):
		return errReported
	}
	return nil
}

// print writes the report to page, if it is not nil, and to stdout.
func (f replayFlags) print(report *replay.Report, page *os.File, stdout io.Writer) error {
	if page != nil {
		if err := errors.Join(report.HTML(page), page.Close()); err != nil {
			return err
		}
	}
	if f.json {
		return report.JSON(stdout)
	}
	return report.Text(stdout)
}

// options returns the options of the replay, without the paths, and a function that closes their resolver.
func (f replayFlags) options(configFile string, stderr io.Writer) (opts replay.Options, closeDNS func(), err error) {
	cfg, err := loadConfig(configFile, false, stderr)
	if err != nil {
		return opts, nil, err
	}
	opts.Now, opts.Config = time.Now(), replayConfig(configFile, cfg)
	if f.against != "" {
		cfg, err := loadConfig(f.against, false, stderr)
		if err != nil {
			return opts, nil, err
		}
		against := replayConfig(f.against, cfg)
		opts.Against = &against
	}
	opts.DNS, closeDNS, err = f.resolver(cfg.DNS)
	return opts, closeDNS, err
}

// replayConfig returns the configuration of a file for a replay.
func replayConfig(file string, cfg *config.Config) replay.Config {
	return replay.Config{
		Name: file,
		Text: cfg.Text,
		Site: received.Site{
			Hostname: cfg.Hostname,
			Domains:  cfg.LocalDomains,
			Trusted:  withLoopback(cfg.Policy.Trusted.Networks),
		},
		Build: func(env checks.Env) ([]checks.Instance, checks.Options, error) {
			return newChecks(cfg, env)
		},
	}
}

// withLoopback adds the loopback networks, because a content filter on the mail host passes mail back to the MTA. It
// adds none if no network is trusted.
func withLoopback(trusted []netip.Prefix) []netip.Prefix {
	if len(trusted) == 0 {
		return nil
	}
	return append([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, trusted...)
}

// resolver returns the resolver of --dns, and a function that closes it.
func (f replayFlags) resolver(c config.DNS) (checks.Resolver, func(), error) {
	if f.dns == "none" {
		return replay.NoDNS{}, func() {}, nil
	}
	file, record := strings.CutPrefix(f.dns, "record=")
	if f.dns != "live" && (!record || file == "") {
		return nil, nil, checks.BadArgument("--dns: %q is none of live, none, record=FILE", f.dns)
	}
	live, err := newResolver(c, nil)
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
		_ = recording.Close() // every answer is written at once
		live.Close()
	}, nil
}

// afterInterrupt returns ctx, or if an interrupt has ended it, a context that the next interrupt ends.
func afterInterrupt(ctx context.Context, stderr io.Writer) context.Context {
	if ctx.Err() == nil {
		return ctx
	}
	fmt.Fprintln(stderr, "\nmilterd: interrupted: judging the messages that were read; interrupt again to end that too")
	again, stop := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(again, stop)
	return again
}
