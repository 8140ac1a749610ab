package resolver

import (
	"context"
	"sync"

	"github.com/miekg/dns"

	"milterd/checks"
)

// maxDenials is how many answers in a row without a record a server may give before it is tested. Those are believed, so with double
// twice as much mail is refused before a failure is noticed; with half of it, one message of a host without any records causes a test.
const maxDenials = 30

// rootServer is a question that has an answer wherever names of the Internet are resolved.
var rootServer = checks.Question{Name: "a.root-servers.net.", Type: dns.TypeA}

// denials finds out that a server denies all names, such as one behind a captive portal. Mail would be refused because of its answers.
// It does so if maxDenials answers in a row have no record, and then those to rootServer and to known have none either. The second is
// for private networks: a server there may have names of its own, and none of the Internet.
type denials struct {
	mu    sync.Mutex // held during a test, so that no answer is believed before its end
	inRow int
	known checks.Question // the last question that was answered with a record; zero: none yet
	all   bool            // the server denies all names
}

// believe counts an answer of a server. The error is errDeniesAll if the server denies all names, which ends with its next record.
func (u *upstreams) believe(ctx context.Context, s *server, q checks.Question, m *dns.Msg) error {
	d := &s.denials
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(m.Answer) > 0 {
		if d.all {
			u.log.WithField("server", s.name).Info("the name server has records again")
		}
		d.inRow, d.known, d.all = 0, q, false
		return nil
	}
	if d.inRow++; !d.all && d.inRow >= maxDenials {
		d.inRow = 0
		if d.all = u.deniesKnown(ctx, s, d.known); d.all {
			u.log.WithField("server", s.name).Warn("the name server denies all names: until it has a record, its answers count as none")
			u.distrust()
		}
	}
	if d.all {
		return errDeniesAll
	}
	return nil
}

// deniesKnown reports whether a server has no record for questions that have an answer.
func (u *upstreams) deniesKnown(ctx context.Context, s *server, known checks.Question) bool {
	for _, q := range []checks.Question{known, rootServer} {
		if q.Name == "" {
			continue
		}
		if m, err := u.attempt(ctx, s, q, s.takesEDNS()); err != nil || len(m.Answer) > 0 {
			return false
		}
	}
	return true
}

// denying returns the servers that deny all names.
func (u *upstreams) denying() []string {
	list := []string{} // [] in JSON
	for _, s := range u.servers {
		s.denials.mu.Lock()
		if s.denials.all {
			list = append(list, s.name)
		}
		s.denials.mu.Unlock()
	}
	return list
}
