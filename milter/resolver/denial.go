package resolver

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
)

const (
	// maxDenials is how many answers in a row without a record a server may give before it is tested. These count as answers: with
	// double, twice as much mail is refused before a failure is detected. With half of it, one message of a host without any
	// records causes a test.
	maxDenials = 30

	// testEvery is the least time between two tests of a server. With half of it, a private server is asked twice as often; with
	// double, mail is refused or deferred for a second more when a failure begins or ends.
	testEvery = time.Second
)

// internetQuestion is a question that has an answer wherever names of the Internet are resolved. Its TTL of 15 minutes is short, so that a
// cache between milterd and a server that fails does not have the answer for long.
var internetQuestion = checks.Question{Name: "com.", Type: dns.TypeSOA}

// denials detects a server that denies all names, as one behind a captive portal does: it gave maxDenials answers in a row without a
// record, and has none for internetQuestion although a server had one before. Mail would be refused because of its answers. In a
// private network no server may ever have that record, and their answers count.
type denials struct {
	answers  atomic.Int64 // with a record or without
	inRow    atomic.Int64 // without a record
	nextTest atomic.Int64 // nanoseconds of elapsed before which the server is not tested again
	all      atomic.Bool  // the server denies all names
	warned   sync.Once    // that it may
}

// noteAnswer counts an answer of a server. The error is errDeniesAll if it has no record and the server denies all names.
func (u *upstreams) noteAnswer(s *server, m *dns.Msg) error {
	d, isDenial := &s.denials, len(m.Answer) == 0
	if isDenial {
		d.inRow.Add(1)
	} else {
		d.inRow.Store(0)
	}
	// Servers that work are tested too until one has had the record: in a private network none ever has it.
	isDue := d.answers.Add(1)%maxDenials == 0 && !u.internetSeen.Load()
	if isDue || isDenial && (d.all.Load() || d.inRow.Load() >= maxDenials) {
		now, next := int64(u.elapsed()), d.nextTest.Load()
		if now >= next && d.nextTest.CompareAndSwap(next, now+int64(testEvery)) {
			u.background(func(ctx context.Context) { u.test(ctx, s) })
		}
	}
	if isDenial && d.all.Load() {
		return errDeniesAll
	}
	return nil
}

// test asks a server internetQuestion. An error changes nothing.
func (u *upstreams) test(ctx context.Context, s *server) {
	ctx, cancel := context.WithTimeout(ctx, u.cfg.Timeout)
	defer cancel()
	m, err := u.attempt(ctx, s, internetQuestion, s.takesEDNS())
	if err != nil {
		return
	}
	d, log := &s.denials, u.cfg.Log.WithField("server", s.name)
	switch {
	case len(m.Answer) > 0:
		u.internetSeen.Store(true)
		d.inRow.Store(0)
		if d.all.Swap(false) {
			log.Info("the name server resolves names of the Internet again")
		}
	case !u.internetSeen.Load():
		if d.inRow.Load() >= maxDenials {
			d.warned.Do(func() {
				log.Warnf("the name server had no record for %d questions in a row, and has none for %s: if it should resolve names of the Internet, "+
					"mail is refused because of its answers", maxDenials, internetQuestion)
			})
		}
	case !d.all.Swap(true):
		log.Warn("the name server denies all names: until it resolves names of the Internet again, its denials are no answers")
		u.forgetAnswers()
	}
}

// denying returns the servers that deny all names.
func (u *upstreams) denying() []string {
	list := []string{} // [] in JSON
	for _, s := range u.servers {
		if s.denials.all.Load() {
			list = append(list, s.name)
		}
	}
	return list
}
