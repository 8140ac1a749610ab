package checks

import (
	"context"
	"time"
)

// step is a check at a stage.
type step struct {
	check int // index in Pipeline.instances
	stage Stage
}

// finding is the result of a check at a stage.
type finding struct {
	check     int  // index in Pipeline.instances
	reported  bool // err is in a Decision already
	verdicts  []Verdict
	err       error
	asked     []Asked
	notes     []string
	took      time.Duration
	askedSize int // bytes of asked
}

// find returns the finding of a step, valid until the next call. It runs the check unless there is a finding of the stage's
// scope already.
func (run *Run) find(ctx context.Context, st step) *finding {
	run.steps = append(run.steps, st)
	if f := run.found(st); f != nil {
		return f
	}
	p, inst := run.pipeline, run.pipeline.instances[st.check]
	list := &run.findings[st.stage]
	if *list == nil {
		*list = make([]finding, 0, p.atStage[st.stage])
	}
	*list = append(*list, finding{check: st.check})
	f := &(*list)[len(*list)-1]
	run.request.Stage = st.stage
	run.trace.take() // discard what was asked before this check
	began := time.Now()
	f.err = Protect(func() (err error) {
		f.verdicts, err = inst.Check.Check(ctx, &run.request)
		return err
	})
	f.took = time.Since(began)
	f.asked, f.notes = run.trace.take()
	for _, a := range f.asked {
		f.askedSize += len(a.Name) + len(a.text) + a.Answer.Size()
	}
	if p.opts.Took != nil {
		p.opts.Took(inst.Info.Name, f.took)
	}
	return f
}

// found returns the finding of a step, or nil if the check did not run.
func (run *Run) found(st step) *finding {
	list := run.findings[st.stage]
	for i := range list {
		if list[i].check == st.check {
			return &list[i]
		}
	}
	return nil
}

// results returns the results of the checks that the last decision asked.
func (run *Run) results() []Result {
	list := make([]Result, len(run.steps))
	for i, st := range run.steps {
		check, f := run.pipeline.instances[st.check].Info.Name, run.found(st)
		list[i] = Result{
			Check: check, Stage: st.stage, Outcomes: run.outcomes(check, st.stage, f.verdicts, Off),
			Err: f.err, Asked: f.asked, Notes: f.notes, Took: f.took,
		}
		for _, v := range f.verdicts {
			list[i].Vouched = appendVouched(list[i].Vouched, check, v)
		}
	}
	return list
}
