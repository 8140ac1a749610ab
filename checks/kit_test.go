package checks_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
)

// fake is a check that returns what its function say returns. It counts its calls by stage.
type fake struct {
	info  checks.Info
	say   func(ctx context.Context, r *checks.Request) ([]checks.Verdict, error)
	asked map[checks.Stage]int
}

// instance is a fake, or a type that embeds one.
type instance interface {
	checks.Check
	describe() checks.Info
}

func (f *fake) describe() checks.Info { return f.info }

func (f *fake) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	f.asked[r.Stage]++
	return f.say(ctx, r)
}

func reason(id string) *checks.Reason {
	return &checks.Reason{ID: id, Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: id + " of {client}"}, Safe: checks.Reject, Strict: checks.Reject}
}

// newFake returns a check that returns all of reasons, in that order, at each of its stages.
func newFake(name string, stages []checks.Stage, reasons ...*checks.Reason) *fake {
	f := &fake{info: checks.Info{Name: name, Stages: stages, Reasons: reasons}, asked: map[checks.Stage]int{}}
	f.say = func(context.Context, *checks.Request) (vs []checks.Verdict, err error) {
		for _, r := range reasons {
			vs = append(vs, checks.Verdict{Reason: r})
		}
		return vs, nil
	}
	return f
}

// pipeline returns a pipeline of fakes. Their reasons reject unless actions has another action.
func pipeline(t testing.TB, actions map[string]checks.Action, change func(*checks.Options), fakes ...instance) *checks.Pipeline {
	t.Helper()
	opts := checks.Options{Actions: map[string]checks.Action{}, ReplyAt: checks.RcptTo, Budget: 8 * time.Second, Trace: checks.TraceAll}
	var instances []checks.Instance
	for _, f := range fakes {
		info := f.describe()
		instances = append(instances, checks.Instance{Info: info, Check: f})
		for _, r := range info.Reasons {
			opts.Actions[r.ID] = checks.Reject
		}
	}
	maps.Copy(opts.Actions, actions)
	if change != nil {
		change(&opts)
	}
	p, err := checks.New(instances, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// talk is one session in a pipeline.
type talk struct {
	run *checks.Run
	s   *checks.Session
}

func begin(p *checks.Pipeline, client string) talk {
	s := &checks.Session{ID: "t", Client: netip.MustParseAddr(client)}
	t := talk{p.NewRun(s), s}
	t.run.Judge(context.Background(), checks.Connect)
	t.helo("mail.example.net")
	return t
}

func (t talk) helo(name string) {
	t.s.SetHelo(name, false)
	t.run.Judge(context.Background(), checks.Helo)
}

func (t talk) mail(from string) checks.Decision {
	t.s.Envelope = checks.Envelope{MailFrom: checks.ParseAddress(from)}
	return t.run.Judge(context.Background(), checks.MailFrom)
}

func (t talk) rcpt(to string) checks.Decision {
	t.s.Envelope.Rcpts = append(t.s.Envelope.Rcpts, checks.Recipient{Address: checks.ParseAddress(to)})
	return t.run.Judge(context.Background(), checks.RcptTo)
}

func (t talk) message() checks.Decision {
	t.run.BeginBody()
	return t.run.Judge(context.Background(), checks.EndOfMessage)
}

// code returns the codes and the reason of a reply, or "".
func code(d checks.Decision) string {
	if d.Reply == nil {
		return ""
	}
	return fmt.Sprintf("%d %s %s", d.Reply.Code, d.Reply.Enhanced, d.Reason.ID)
}

func outcomes(d checks.Decision) string {
	var out []string
	for _, o := range d.Outcomes {
		out = append(out, o.Reason.ID+"="+o.Action.String())
	}
	return strings.Join(out, " ")
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

var (
	atConnect  = []checks.Stage{checks.Connect}
	recipients = checktest.Recipients
)
