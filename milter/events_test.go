package milter

import (
	"context"
	"slices"
	"sync"
	"testing"

	"milterd/checks"
	"milterd/milter/miltertest"
)

// watcher is a check that collects the events.
type watcher struct {
	mu     sync.Mutex
	events []checks.Event
}

func (*watcher) Check(context.Context, *checks.Request) ([]checks.Verdict, error) { return nil, nil }

func (w *watcher) Observe(_ context.Context, _ *checks.Request, e checks.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

func (w *watcher) kinds() []checks.EventKind {
	w.mu.Lock()
	defer w.mu.Unlock()
	var kinds []checks.EventKind
	for _, e := range w.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// TestEvents replays milter commands as observed with Postfix 3.7 and Sendmail 8.17. Each letter is one: H HELO, M
// MAIL, R RCPT, X a refused RCPT, D DATA, F a header field, E end of message, A ABORT, Q QUIT.
func TestEvents(t *testing.T) {
	t.Parallel()
	const reset, accepted, gone, bad = checks.Reset, checks.Accepted, checks.Disconnected, checks.BadRecipient
	for _, c := range []struct {
		name, events string
		want         []checks.EventKind
	}{
		{"Postfix: a message and QUIT", "HMREAAQ", []checks.EventKind{accepted, gone}},
		{"Postfix: two messages", "HMREAMREAQ", []checks.EventKind{accepted, accepted, gone}},
		{"Sendmail: two messages", "HMREMREQ", []checks.EventKind{accepted, accepted, gone}},
		{"RSET after RCPT, then a message", "HMRAMREQ", []checks.EventKind{reset, accepted, gone}},
		{"Sendmail: RSET after RCPT, without ABORT", "HMRMREQ", []checks.EventKind{reset, accepted, gone}},
		{"Sendmail: RSET before any RCPT", "HMMREQ", []checks.EventKind{accepted, gone}},
		{"Sendmail: two RSETs", "HMRMRMRE", []checks.EventKind{reset, reset, accepted, gone}},
		{"Sendmail: EHLO in a transaction, without ABORT", "HMRHMREQ", []checks.EventKind{accepted, gone}},
		{"RSET before any RCPT", "HMAMREQ", []checks.EventKind{accepted, gone}},
		{"two RSETs", "HMRAMRAMRE", []checks.EventKind{reset, reset, accepted, gone}},
		{"Postfix: QUIT in a transaction", "HMRAAQ", []checks.EventKind{gone}},
		{"Sendmail: the client vanishes in a transaction", "HMR", []checks.EventKind{gone}},
		{"Postfix: EHLO in a transaction", "HMRHAAMREQ", []checks.EventKind{accepted, gone}},
		{"Sendmail: EHLO in a transaction", "HMRAHMREQ", []checks.EventKind{accepted, gone}},
		{"Postfix: STARTTLS and EHLO", "HAHMREAQ", []checks.EventKind{accepted, gone}},
		{"Postfix: another filter defers messages", "HMRDAMRDAMRDEAAQ", []checks.EventKind{accepted, gone}},
		{"Sendmail: another filter defers messages", "HMRDMRDMRDEQ", []checks.EventKind{accepted, gone}},
		{"refused after DATA, then RSET", "HMRDAMRAMRDEAAQ", []checks.EventKind{reset, accepted, gone}},
		{"Sendmail: refused after DATA, then RSET", "HMRDMRMRDEQ", []checks.EventKind{reset, accepted, gone}},
		{"RSET after an accepted message", "HMRDEAMRAMRDEAAQ", []checks.EventKind{accepted, reset, accepted, gone}},
		{"an MTA without DATA gives up in the header section", "HMRFAMRFMREQ", []checks.EventKind{accepted, gone}},
		{"a recipient that the MTA refused", "HMXREQ", []checks.EventKind{bad, accepted, gone}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := &watcher{}
			address, srv, _ := startWith(t, nil, w)
			d := dial(t, address)
			d.must(d.Connect("x", client, nil))
			for _, event := range c.events {
				d.event(event)
			}
			d.Close()
			miltertest.Eventually(t, "the connection ends", func() bool { return srv.Connections() == 0 })
			if got := w.kinds(); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func (d dialer) event(letter rune) {
	d.t.Helper()
	switch letter {
	case 'H':
		d.must(d.Helo("mail.example.net", map[string]string{}))
	case 'M':
		d.must(d.Mail("<a@example.net>", map[string]string{"i": "Q1"}))
	case 'R':
		d.rcpt("<u@example.org>")
	case 'X':
		d.must(d.Rcpt("<nobody@example.org>", map[string]string{"{rcpt_mailer}": "error", "{rcpt_host}": "5.1.1"}))
	case 'D':
		d.must(d.Data(map[string]string{"i": "Q1"}))
	case 'F':
		d.must(d.Header("Subject", " hi"))
	case 'E':
		d.must(d.EndOfHeader(nil))
		d.must(d.EndOfMessage(nil))
	case 'A':
		if err := d.Abort(); err != nil {
			d.t.Fatal(err)
		}
	case 'Q':
		_ = d.Quit()
	}
}
