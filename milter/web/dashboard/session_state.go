package dashboard

import (
	"context"
	"net/http"
	"strings"

	"milterd/checks"
	"milterd/milter/records"
)

// stateView is what is in force now for a session, with the forms that change it.
type stateView struct {
	State
	Client  string   // empty if unknown
	Entries []choice // what the form can put on a list

	Entry, Until, Why string // content of the form
}

// newStateView returns the view of a state. The form offers the client, its network, the sender and its domain.
func newStateView(st State, r records.Record) *stateView {
	v := &stateView{State: st}
	add := func(title, value string) {
		v.Entries = append(v.Entries, choice{Value: value, Title: title + " " + value})
	}
	if r.Client.IsValid() {
		v.Client = r.Client.String()
		add("Client", v.Client)
		add("Network", checks.Network(r.Client).String())
	}
	if i := strings.LastIndexByte(r.MailFrom, '@'); i > 0 && i < len(r.MailFrom)-1 {
		add("Sender", r.MailFrom)
		add("Domain", r.MailFrom[i:])
	}
	return v
}

// changeSession carries out the forms of the page of a session.
func (p *pages) changeSession(w http.ResponseWriter, r *http.Request) {
	v := form(w, r)
	entry := field(v, "entry")
	p.change(w, r, "session", func(ctx context.Context) (Change, error) {
		do := v.Get("do")
		switch {
		case entry == "":
			return Change{}, errNoClient
		case do == "deny" || do == "allow":
			return p.Operator.List(ctx, do, entry, field(v, "until"), field(v, "why"))
		case do == "remove":
			return p.Operator.Unlist(ctx, entry, many(v))
		case do == "unblock":
			return p.Operator.Unblock(ctx, entry, field(v, "sender"), many(v))
		case do == "forget":
			return p.Operator.Forget(ctx, entry, many(v))
		}
		return Change{}, errUnknownForm
	}, p.showSession)
}
