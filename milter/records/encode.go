package records

import (
	"encoding/json"
	"fmt"
	"runtime/debug"
)

// encode appends a record as two lines of JSON: who and what, by which one searches, and the checks, which are long. If they are
// too long, or there are none, that line is empty; if the first is too long, what is longest in it goes. A panic on some odd answer
// of the DNS loses that record alone.
func (p *pending) encode(to []byte) (value []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			value, err = to, fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	var head, trace []byte
	for _, shorten := range []func(*Record){
		func(*Record) {},
		func(r *Record) {
			for i := range r.Outcomes {
				r.Outcomes[i].Detail = nil
			}
		},
		func(r *Record) { r.Rcpts = r.Rcpts[:min(len(r.Rcpts), 1)] },
		func(r *Record) { r.Outcomes = r.Outcomes[:min(len(r.Outcomes), 1)] },
	} {
		shorten(&p.Record)
		if head, err = json.Marshal(p.Record); err != nil {
			return to, err
		}
		if len(head) < maxEncoded-2 {
			break
		}
	}
	if list := Trace(p.results); len(list) > 0 {
		if trace, err = json.Marshal(list); err != nil || len(head)+len(trace) > maxEncoded-2 {
			trace = nil
		}
	}
	value = append(append(to, head...), '\n')
	return append(append(value, trace...), '\n'), nil
}
