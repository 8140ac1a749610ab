// Package replay judges stored mail by a configuration, as if each message were received by milterd at the
// time at which it was received then.
//
// Run first reads all files (readAll) and finds out when each message was received. Then it judges the
// messages in this order (judgeAll): each in an SMTP session of its own, by the checks and the policy of the
// daemon, with a store in memory whose clock is the time of the mail. So greylisting and counting give the
// same results as in the daemon, whatever the order of the files.
//
// Each message is one attempt: the retry of a message that would have been greylisted is not in an archive.
//
// Package mailbox finds and reads the files, package received reconstructs the SMTP session of a message.
// Start reading at Run in replay.go; judge.go decides about a message. With two configurations, changes.go collects the messages with
// different results, difference.go compares the files, and causes.go says which differences are the cause. text.go, json.go and html.go
// write the report.
package replay

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"milterd/checks"
	"milterd/cmd/milterd/internal/mailbox"
)

// Options configure a replay.
type Options struct {
	Paths   []string
	Config  Config
	Against *Config         // configuration to compare with; may be nil
	DNS     checks.Resolver // NoDNS if there is none
	Now     time.Time       // time of a message that has none at all

	Progress func(Progress)                        // called after each message; may be nil
	Judging  func(context.Context) context.Context // called with the context after reading; returns that for judging; may be nil
}

// Progress is how far a replay is.
type Progress struct {
	Read, Judged, Unreadable int  // messages; those that cannot be read are among the other two
	Judging                  bool // all files are read
}

// Run judges the messages of the paths. If ctx ends while files are read, the messages that were read are
// judged all the same. If the context for judging ends, the report is about the messages that were judged.
func Run(ctx context.Context, opts Options) (*Report, error) {
	start := time.Now()
	r := &replay{opts: opts, dns: &sameAnswers{Resolver: opts.DNS}}
	defer r.close()
	if err := r.build(); err != nil {
		return nil, err
	}
	if err := r.readAll(ctx); err != nil {
		return nil, err
	}
	r.report.Interrupted = ctx.Err() != nil
	if opts.Judging != nil {
		ctx = opts.Judging(ctx)
	}
	if err := r.judgeAll(ctx); err != nil {
		return nil, err
	}
	r.report.Interrupted = r.report.Interrupted || ctx.Err() != nil
	r.report.Took = time.Since(start)
	return r.report, nil
}

// replay is one run.
type replay struct {
	opts    Options
	dns     *sameAnswers
	judges  []*judge
	base    *judge // of Options.Config
	against *judge // of Options.Against; nil if there is none
	middle  *judge // of middleConfig; nil if there is no against
	archive archive
	report  *Report
}

// build makes the judges and the empty report.
func (r *replay) build() (err error) {
	if r.base, err = r.newJudge(r.opts.Config); err != nil {
		return err
	}
	r.report = newReport(r.opts.Config.Name, r.base)
	if r.opts.Against == nil {
		return nil
	}
	if r.against, err = r.newJudge(*r.opts.Against); err != nil {
		return fmt.Errorf("%s: %w", r.opts.Against.Name, err)
	}
	r.report.changes = newChanges(r.base, r.against)
	r.middle, err = r.newJudge(middleConfig(r.base, r.against))
	return err
}

func (r *replay) newJudge(c Config) (*judge, error) {
	j, err := newJudge(c, r.dns)
	if err == nil {
		r.judges = append(r.judges, j)
	}
	return j, err
}

func (r *replay) close() {
	for _, j := range r.judges {
		j.close()
	}
	r.archive.close()
}

// readAll reads all files into the archive.
func (r *replay) readAll(ctx context.Context) error {
	for f, err := range mailbox.Walk(r.opts.Paths) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			r.skip(mailbox.Message{File: f.Path, Err: err})
			continue
		}
		for m := range f.Messages(ctx, r.bodyOf) {
			if m.Err != nil {
				r.skip(m)
				continue
			}
			if err := r.archive.add(m, r.received(newMail(m))); err != nil {
				return err
			}
			r.showProgress(false)
		}
	}
	return nil
}

// bodyOf implements mailbox.BodyFunc.
func (r *replay) bodyOf(head string) io.Writer {
	r.archive.body = 0 // that of a message that could not be read to its end
	if !isSigned(head) || !slices.ContainsFunc(r.judges, (*judge).needsBody) {
		return nil
	}
	return &r.archive
}

// received returns when a message was received, as the site of either configuration reads it.
func (r *replay) received(m *mail) time.Time {
	at := m.facts(r.base.config.Site).Time
	if at.IsZero() && r.against != nil {
		at = m.facts(r.against.config.Site).Time
	}
	return at
}

// skip counts a message that cannot be read.
func (r *replay) skip(m mailbox.Message) {
	r.report.addFault(m)
	r.showProgress(false)
}

func (r *replay) showProgress(judging bool) {
	if r.opts.Progress != nil {
		unreadable := r.report.Unreadable
		r.opts.Progress(Progress{Read: len(r.archive.index) + unreadable, Judged: r.report.Messages, Unreadable: unreadable, Judging: judging})
	}
}

// prefetchWindow is how many messages before its turn the DNS questions of a message are announced.
// BenchmarkReplayDNS judges 480 messages a second, 260 with half of it and 600 with twice as many. With six
// times as many it judges 110, because the resolver drops questions over its limit; without a window 40.
const prefetchWindow = 16

// judgeAll judges the messages of the archive in the order in which they were received.
func (r *replay) judgeAll(ctx context.Context) error {
	for m, err := range r.archive.sorted(prefetchWindow, r.announce) {
		if err != nil {
			return err
		}
		r.dns.forget()
		res, err := r.decide(ctx, m)
		if err != nil || ctx.Err() != nil {
			return err // if the context ended, a check may have lacked an answer
		}
		r.report.add(m, res.base)
		if r.against != nil {
			r.report.changes.add(m, res)
		}
		r.showProgress(true)
	}
	return nil
}

// announce announces the questions of a message, so that most are answered when it is judged.
func (r *replay) announce(m *mail) {
	a, ok := r.opts.DNS.(checks.Announcer)
	if !ok {
		return
	}
	a.Announce(r.base.questions(m))
	if r.against != nil {
		a.Announce(r.against.questions(m))
	}
}

// decide judges a message by all configurations.
func (r *replay) decide(ctx context.Context, m *mail) (res results, err error) {
	if res.base, err = r.base.decide(ctx, m, r.opts.Now); err != nil || r.against == nil {
		return res, err
	}
	if res.middle, err = r.middle.decide(ctx, m, r.opts.Now); err != nil {
		return res, err
	}
	res.against, err = r.against.decide(ctx, m, r.opts.Now)
	return res, err
}
