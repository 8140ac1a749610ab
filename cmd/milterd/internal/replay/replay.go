// Package replay judges stored mail by a configuration, as if each message were received by milterd at the time at which
// it was received then.
//
// A replay reads the mail twice. The first time it finds out when each message was received (read). Then it judges the
// messages in this order (judge): each is an SMTP session of its own, which the checks and the policy of the daemon decide,
// with a store in memory whose clock is the time of the mail. So greylisting and counting give the same result as in the
// daemon, whatever the order of the files.
//
// Each message is one attempt: the retry of a message that would have been greylisted is not in an archive.
//
// Package mailbox finds and reads the mail, package received reconstructs the SMTP session of a message. Start reading at
// Run; the file judge.go has the judging, changes.go the comparison of two configurations.
package replay

import (
	"context"
	"fmt"
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
	Judging  func(context.Context) context.Context // returns the context for judging, from that for reading; may be nil
}

// Progress is how far a replay is.
type Progress struct {
	Read, Judged, Unreadable int   // messages
	Bytes                    int64 // of the files
	Judging                  bool  // all files are read
}

// Run judges the messages of the paths. If ctx ends while files are read, the messages that were read are judged all the
// same. If the context for judging ends, the report is about the messages that were judged.
func Run(ctx context.Context, opts Options) (*Report, error) {
	start := time.Now()
	r, err := newReplay(opts)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.read(ctx); err != nil {
		return nil, err
	}
	r.report.Interrupted = ctx.Err() != nil
	if opts.Judging != nil {
		ctx = opts.Judging(ctx)
	}
	if err := r.judge(ctx); err != nil {
		return nil, err
	}
	r.report.Interrupted = r.report.Interrupted || ctx.Err() != nil
	r.report.Took = time.Since(start)
	return r.report, nil
}

// replay is one run.
type replay struct {
	opts     Options
	dns      *sameAnswers
	base     *judge // of Options.Config
	against  *judge // of Options.Against; nil if there is none
	middle   *judge // see newMiddle; base or against if one of them does; nil if against is
	archive  archive
	report   *Report
	progress Progress
}

func newReplay(opts Options) (r *replay, err error) {
	r = &replay{opts: opts, dns: &sameAnswers{Resolver: opts.DNS}}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.base, err = newJudge(opts.Config, r.dns); err != nil {
		return nil, err
	}
	r.report = newReport(opts.Config.Name, r.base)
	if opts.Against == nil {
		return r, nil
	}
	if r.against, err = newJudge(*opts.Against, r.dns); err != nil {
		return nil, fmt.Errorf("%s: %w", opts.Against.Name, err)
	}
	c := newChanges(r.base, r.against)
	r.report.changes = c
	switch {
	case !c.trustDiffers:
		r.middle = r.base
	case !c.otherDiffers:
		r.middle = r.against
	default:
		r.middle, err = newMiddle(r.base, r.against, r.dns)
	}
	return r, err
}

func (r *replay) close() {
	for _, j := range []*judge{r.base, r.against, r.middle} {
		if j != nil {
			j.close()
		}
	}
	r.archive.close()
}

// read reads all files into the archive.
func (r *replay) read(ctx context.Context) error {
	for f, err := range mailbox.Walk(r.opts.Paths) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			r.unreadable(mailbox.Message{File: f.Path, Err: err})
			continue
		}
		for m := range f.Messages(ctx) {
			if m.Err != nil {
				r.unreadable(m)
				continue
			}
			if err := r.archive.add(m, r.received(newMail(m))); err != nil {
				return err
			}
			r.wasRead(m)
		}
	}
	return nil
}

// received returns when a message was received. A site that does not know it may be compared with one that does.
func (r *replay) received(m *mail) time.Time {
	at := m.facts(r.base.site).Time
	if at.IsZero() && r.against != nil {
		at = m.facts(r.against.site).Time
	}
	return at
}

func (r *replay) unreadable(m mailbox.Message) {
	r.report.unreadable(m)
	r.progress.Unreadable++
	r.wasRead(m)
}

func (r *replay) wasRead(m mailbox.Message) {
	r.progress.Read++
	r.progress.Bytes += m.Size
	r.showProgress()
}

func (r *replay) showProgress() {
	if r.opts.Progress != nil {
		r.opts.Progress(r.progress)
	}
}

// judge judges the messages of the archive in the order in which they were received.
func (r *replay) judge(ctx context.Context) error {
	r.progress.Judging = true
	r.progress.Judged = r.progress.Unreadable
	announcer, _ := r.opts.DNS.(checks.Announcer)
	for m, err := range r.archive.sorted(announceAhead, func(m *mail) { r.announce(announcer, m) }) {
		if err != nil {
			return err
		}
		if err := r.judgeMail(ctx, m); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		r.progress.Judged++
		r.showProgress()
	}
	return nil
}

// announceAhead is how many messages before its turn the DNS questions of a message are announced. BenchmarkReplayDNS judges
// 480 messages a second, 260 with half of it, and 40 if only the questions of the message itself are announced. With more than
// four times as many, the resolver has too many questions and drops some.
const announceAhead = 16

// announce announces the questions of a message, so that most are answered when it is judged.
func (r *replay) announce(a checks.Announcer, m *mail) {
	if a == nil {
		return
	}
	a.Announce(r.base.questions(m))
	if r.against != nil {
		a.Announce(r.against.questions(m))
	}
}

// judgeMail judges one message by all configurations, and adds the results to the report, unless the context ended: then
// the DNS may not have been asked.
func (r *replay) judgeMail(ctx context.Context, m *mail) error {
	r.dns.forget()
	was, err := r.base.judge(ctx, m, r.opts.Now)
	if err != nil {
		return err
	}
	if r.against == nil {
		if ctx.Err() == nil {
			r.report.add(m, was)
		}
		return nil
	}
	will, err := r.against.judge(ctx, m, r.opts.Now)
	if err != nil {
		return err
	}
	middle := was
	switch r.middle {
	case r.base:
	case r.against:
		middle = will
	default:
		if middle, err = r.middle.judge(ctx, m, r.opts.Now); err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		r.report.add(m, was)
		r.report.changes.add(m, was, middle, will)
	}
	return nil
}
