// Package replay judges stored mail as if it came now, by a configuration that is to be tried out.
//
// It goes in two steps. The archive is read by all cores, and what is needed of each message is sorted by the time at which the
// message came, in bounded memory: what is too much waits in a temporary file. Then the messages are judged in that order, each
// as an SMTP session of its own, by the checks and the policy of the daemon, with a store of their own that goes by the time of
// the mail. So greylisting and counting see the archive as the daemon would have seen it, and the result depends neither on the
// number of cores nor on the order of files.
//
// Where the DNS is asked, many messages are played ahead, each with a store that is empty, for the sake of the questions alone:
// when their turn comes, the answers are there.
//
// Each message stands for one attempt. The retry of one that would have been greylisted is not in the archive.
package replay

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"milterd/checks"
	"milterd/cmd/milterd/internal/mailbox"
)

// Options say what to judge, and by what.
type Options struct {
	Paths   []string
	Config  Config
	Against *Config         // to compare with, as it reads the messages itself, in the order of Config; nil: nothing
	DNS     checks.Resolver // Nobody: it is not asked
	Now     time.Time       // of mail that tells no time at all
	Workers int             // cores to use

	Progress func(Progress)                        // called often, by many at a time; may be nil
	Judging  func(context.Context) context.Context // makes the context of the second step; nil: the same
}

// Progress is how far a replay is.
type Progress struct {
	Read, Judged, Unreadable int64 // messages
	Octets                   int64 // of the archive that were read
	Sorted                   bool  // all is read
}

// sortMemory is how much of what was read is kept in memory, in octets. An archive that is larger is sorted on disk. The
// collector lets the heap grow to twice that.
const sortMemory = 8 << 20

// askAhead is how many messages are played ahead if the DNS is asked.
const askAhead = 64

// replay is one run.
type replay struct {
	opts     Options
	asked    bool // the DNS is
	sorter   sorter
	base     *side
	against  *side
	half     *side   // the checks and actions of base, with the site and the trust of against; nil: it would be one of them
	scouts   []*side // for asking ahead
	report   *Report
	progress struct{ read, judged, unreadable, octets atomic.Int64 }
	sorted   atomic.Bool
}

// Run judges an archive. If the context ends while it reads, what was read is judged all the same; if that of the second step
// ends, the report is on what was judged until then.
func Run(ctx context.Context, opts Options) (*Report, error) {
	_, nobody := opts.DNS.(Nobody)
	r := &replay{opts: opts, asked: !nobody, sorter: sorter{limit: sortMemory}}
	defer r.sorter.close()
	began := time.Now()
	dns := remembering{opts.DNS}
	var err error
	if r.base, err = newSide(opts.Config, false, dns, r.asked); err != nil {
		return nil, err
	}
	defer r.base.close()
	if opts.Against != nil {
		if r.against, err = newSide(*opts.Against, true, dns, r.asked); err != nil {
			return nil, fmt.Errorf("%s: %w", opts.Against.Name, err)
		}
		defer r.against.close()
	}
	r.report = newReport(r.base, opts)
	half := opts.Config
	if r.against != nil {
		r.report.changes.sides(r.base, r.against, len(opts.sites()) > 1)
		half.Build = r.buildHalf
	}
	if r.against != nil && r.report.changes.mixed {
		if r.half, err = newSide(half, true, dns, r.asked); err != nil {
			return nil, err
		}
		defer r.half.close()
	}
	for _, s := range []struct {
		like *side
		c    *Config
	}{{r.base, &opts.Config}, {r.against, opts.Against}, {r.half, &half}} {
		if !r.asked || s.like == nil {
			continue
		}
		scout, err := newScout(*s.c, s.like.other, dns)
		if err != nil {
			return nil, err
		}
		r.scouts = append(r.scouts, scout)
	}
	if err := read(ctx, opts.Paths, opts.sites(), opts.Workers, &r.sorter, r.wasRead); err != nil {
		return nil, err
	}
	r.sorted.Store(true)
	r.report.Interrupted = ctx.Err() != nil
	if opts.Judging != nil {
		ctx = opts.Judging(ctx)
	}
	err = r.judgeAll(ctx)
	r.report.finish(time.Since(began))
	return r.report, err
}

// buildHalf builds half.
func (r *replay) buildHalf(env checks.Env) ([]checks.Instance, checks.Options, error) {
	instances, opts, err := r.opts.Config.Build(env)
	opts.Trusted = r.against.opts.Trusted
	return instances, opts, err
}

func (r *replay) wasRead(m mailbox.Message) {
	r.progress.read.Add(1)
	r.progress.octets.Add(m.Size)
	if m.Err != nil {
		r.progress.unreadable.Add(1)
	}
	r.tell()
}

func (r *replay) tell() {
	if r.opts.Progress != nil {
		p := &r.progress
		r.opts.Progress(Progress{p.read.Load(), p.judged.Load(), p.unreadable.Load(), p.octets.Load(), r.sorted.Load()})
	}
}

// job is a message on its way to be judged.
type job struct {
	mail    *mail
	answers answers
	ready   chan struct{} // closed when what will be asked was asked
	err     error         // no message, and the last job
}

// judgeAll judges what is in the sorter, in its order.
func (r *replay) judgeAll(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	jobs := make(chan *job, askAhead)
	var ahead sync.WaitGroup
	defer ahead.Wait()
	defer cancel()
	ahead.Go(func() { r.deal(ctx, jobs) })
	for j := range jobs {
		if j.err != nil {
			return j.err
		}
		<-j.ready
		if err := r.judge(ctx, j); err != nil {
			return err
		}
		if ctx.Err() != nil {
			break
		}
		r.progress.judged.Add(1)
		r.tell()
	}
	r.report.Interrupted = r.report.Interrupted || ctx.Err() != nil
	return nil
}

// deal deals the sorted messages out, to be asked about ahead and to be judged.
func (r *replay) deal(ctx context.Context, jobs chan<- *job) {
	defer close(jobs)
	var scouting sync.WaitGroup
	defer scouting.Wait()
	free := make(chan struct{}, askAhead)
	for record, err := range r.sorter.sorted() {
		j := &job{ready: make(chan struct{}), err: err}
		if err == nil {
			j.mail = decode(record)
		}
		select {
		case jobs <- j:
		case <-ctx.Done():
			return
		}
		if err != nil || !r.asked || j.mail.Fault != "" {
			close(j.ready)
			continue
		}
		free <- struct{}{}
		scouting.Go(func() {
			defer func() { <-free }()
			defer close(j.ready)
			for _, s := range r.scouts {
				_, _ = s.judge(withAnswers(ctx, &j.answers), j.mail, r.opts.Now) // for the questions alone
			}
		})
	}
}

// judge judges one message and notes it in the report.
func (r *replay) judge(ctx context.Context, j *job) error {
	m := j.mail
	if m.Fault != "" {
		r.report.unreadable(m)
		return nil
	}
	ctx = withAnswers(ctx, &j.answers)
	var f, half, other fate
	var err, errHalf, errOther error
	var all sync.WaitGroup
	if r.against != nil {
		all.Go(func() { other, errOther = r.against.judge(ctx, m, r.opts.Now) })
	}
	if r.half != nil {
		all.Go(func() { half, errHalf = r.half.judge(ctx, m, r.opts.Now) })
	}
	f, err = r.base.judge(ctx, m, r.opts.Now)
	all.Wait()
	if err = cmp.Or(err, errHalf, errOther); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil // what could not be asked any more is no result
	}
	if err := r.report.judged(m, f); err != nil {
		return err
	}
	if r.against == nil {
		return nil
	}
	if r.half == nil {
		half = r.report.changes.halfway(f, other)
	}
	return r.report.compared(m, f, half, other)
}
