package checks

import (
	"context"
	"slices"
)

// Again asks the named checks once more about a session that is over, up to RcptTo, and returns everything they say, with
// the actions for its last recipient. Nothing is decided and no Observer is told: it is for the sender who wants to know
// whether what was refused is repaired.
func (p *Pipeline) Again(ctx context.Context, s *Session, names []string) []Result {
	ctx, cancel := p.Within(ctx)
	defer cancel()
	s.begin(Connect)
	ctx = p.run(ctx, s)
	s.table = p.tableFor(s.Rcpt().Address)
	s.steps = s.steps[:0]
	for i, inst := range p.instances {
		if !s.table.asks[i] || !slices.Contains(names, inst.Info.Name) {
			continue
		}
		for _, st := range inst.Info.Stages {
			if st > RcptTo {
				continue
			}
			p.find(ctx, s, i, st)
			s.steps = append(s.steps, step{i, st})
		}
	}
	return p.results(s)
}
