package checks_test

import (
	"context"
	"strings"
	"testing"

	"milterd/checks"
)

// marks returns the reasons and actions of Decision.Marks.
func marks(d checks.Decision) string {
	var out []string
	for _, o := range d.Marks {
		out = append(out, o.Reason.ID+"="+o.Action.String())
	}
	return strings.Join(out, " ")
}

// vouching returns a check that vouches for the client at its stages.
func vouching(vouch checks.Vouch, stages ...checks.Stage) *fake {
	f := newFake("vouching", stages, reason("vouched"))
	f.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) {
		return []checks.Verdict{{Vouch: vouch}}, nil
	}
	return f
}

// TestMarks shows which reasons mark a message with one recipient, found at which stage.
func TestMarks(t *testing.T) {
	t.Parallel()
	type actions = map[string]checks.Action
	atRcpt := []checks.Stage{checks.RcptTo}
	for _, c := range []struct {
		name           string
		actions        actions
		fakes          []instance
		rcpt, message  string // replies
		marked, atRcpt string
	}{
		{"the client is tagged", actions{"a": checks.Tag}, []instance{newFake("one", atConnect, reason("a"))}, "", "", "a=tag", "a=tag"},
		{"no check is about the message", actions{"a": checks.Quarantine}, []instance{newFake("one", atRcpt, reason("a"))}, "", "", "a=quarantine", "a=quarantine"},
		{"the header section is tagged", actions{"a": checks.Tag}, []instance{newFake("one", atHeader, reason("a"))}, "", "", "a=tag", ""},
		{"reasons of all stages, the most severe first", actions{"a": checks.Tag, "b": checks.Watch, "c": checks.Quarantine, "d": checks.Tag},
			[]instance{newFake("one", atConnect, reason("a"), reason("b")), newFake("two", atHeader, reason("c")), newFake("three", atMessage, reason("d"))},
			"", "", "c=quarantine a=tag d=tag", "a=tag"},
		{"a refusal wins", actions{"a": checks.Quarantine}, []instance{newFake("one", atConnect, reason("a")), newFake("two", atMessage, reason("b"))},
			"", "550 5.7.1 b", "", "a=quarantine"},
		{"a refusal at RCPT", actions{"a": checks.Tag, "b": checks.Tempfail}, []instance{newFake("one", atConnect, reason("a"), reason("b"))},
			"450 4.7.1 b", "", "", ""},
		{"a vouch for all lifts it", actions{"a": checks.Quarantine}, []instance{newFake("one", atConnect, reason("a")), vouching(checks.SkipAll, checks.RcptTo)},
			"", "", "", ""},
		{"such a vouch of the header lifts it", actions{"a": checks.Quarantine}, []instance{newFake("one", atConnect, reason("a")), vouching(checks.SkipAll, checks.EndOfHeader)},
			"", "", "", "a=quarantine"},
		{"a vouch against delays does not", actions{"a": checks.Tag}, []instance{newFake("one", atConnect, reason("a")), vouching(checks.SkipDelays, checks.RcptTo)},
			"", "", "a=tag", "a=tag"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			talk := begin(pipeline(t, c.actions, nil, c.fakes...), "192.0.2.9")
			for range 2 { // the second message has the same result
				talk.mail("a@example.net")
				d := talk.rcpt("u@example.org")
				want(t, "RCPT", code(d), c.rcpt)
				want(t, "marks at RCPT", marks(d), c.atRcpt)
				if d.Reply != nil {
					continue
				}
				d = talk.message()
				want(t, "message", code(d), c.message)
				want(t, "marks", marks(d), c.marked)
			}
		})
	}
}

// TestMarksOfSeveralRecipients shows which recipients share a message, and how it is marked. A policy gives bob other actions than
// alice.
func TestMarksOfSeveralRecipients(t *testing.T) {
	t.Parallel()
	const differ = "452 4.5.3 policies-differ"
	for _, c := range []struct {
		name       string
		stages     []checks.Stage
		alice, bob checks.Action
		named      bool   // the operator chose bob's action
		from       string // reverse-path
		reply      string // to bob, who comes second
		marked     string
	}{
		{"off and tag", atConnect, checks.Off, checks.Tag, false, "a@example.net", "", "a=tag"},
		{"watch and tag in the header", atHeader, checks.Watch, checks.Tag, false, "a@example.net", "", "a=tag"},
		{"tag and off in the header", atHeader, checks.Tag, checks.Off, false, "a@example.net", "", "a=tag"},
		{"tag and greylist in the header", atHeader, checks.Tag, checks.Greylist, false, "a@example.net", differ, "a=tag"},
		{"tag and quarantine", atConnect, checks.Tag, checks.Quarantine, false, "a@example.net", differ, "a=tag"},
		{"quarantine and off", atConnect, checks.Quarantine, checks.Off, false, "a@example.net", differ, "a=quarantine"},
		{"quarantine and tag in the header", atHeader, checks.Quarantine, checks.Tag, false, "a@example.net", differ, "a=quarantine"},
		{"quarantine both", atConnect, checks.Quarantine, checks.Quarantine, false, "a@example.net", "", "a=quarantine"},
		{"a bounce, watched for both", atHeader, checks.Quarantine, checks.Quarantine, false, "<>", "", ""},
		{"a bounce, quarantined for bob by name", atHeader, checks.Quarantine, checks.Quarantine, true, "<>", differ, ""},
		{"a bounce, tagged for bob by name", atHeader, checks.Tag, checks.Tag, true, "<>", "", "a=tag"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, held := reason("a"), reason("held")
			a.BounceWatch, held.Greylisting = true, true
			holder := newFake("holder", atMessage, held)
			holder.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) { return nil, nil }
			bob := checks.Policy{Recipients: recipients(t, "bob@example.org"), Actions: map[string]checks.Action{"a": c.bob, "held": checks.Tempfail}}
			if c.named {
				bob.Named = map[string]bool{"a": true}
			}
			p := pipeline(t, map[string]checks.Action{"a": c.alice, "held": checks.Tempfail}, func(o *checks.Options) { o.Policies = []checks.Policy{bob} },
				newFake("one", c.stages, a), holder)
			talk := begin(p, "192.0.2.9")
			talk.mail(c.from)
			want(t, "alice", code(talk.rcpt("alice@example.org")), "")
			want(t, "bob", code(talk.rcpt("bob@example.org")), c.reply)
			want(t, "marks", marks(talk.message()), c.marked)
			if c.reply != "" { // bob's mail comes alone
				talk.mail(c.from)
				want(t, "bob alone", code(talk.rcpt("bob@example.org")), "")
			}
		})
	}
}

// TestExemptRecipientIsNotQuarantined shows that an exempt recipient does not share a message with a quarantined one.
func TestExemptRecipientIsNotQuarantined(t *testing.T) {
	t.Parallel()
	for _, stages := range [][]checks.Stage{atConnect, atMessage} {
		p := pipeline(t, map[string]checks.Action{"a": checks.Quarantine}, func(o *checks.Options) { o.Exempt = recipients(t, "postmaster") },
			newFake("one", stages, reason("a")))
		talk := begin(p, "192.0.2.9")
		talk.mail("a@example.net")
		talk.rcpt("u@example.org")
		want(t, "postmaster", code(talk.rcpt("postmaster@example.org")), "452 4.5.3 policies-differ")
		talk.mail("a@example.net")
		talk.rcpt("postmaster@example.org")
		want(t, "marks", marks(talk.message()), "")
	}
}

// TestQuarantineDisabled shows that a message is tagged if the MTA cannot quarantine it.
func TestQuarantineDisabled(t *testing.T) {
	t.Parallel()
	p := pipeline(t, map[string]checks.Action{"a": checks.Quarantine}, nil, newFake("one", atConnect, reason("a")))
	if !p.UsesAction(checks.Quarantine) || p.UsesAction(checks.Tag) {
		t.Error("UsesAction is wrong")
	}
	talk := begin(p, "192.0.2.9")
	talk.run.DisableQuarantine()
	talk.mail("a@example.net")
	talk.rcpt("u@example.org")
	d := talk.message()
	want(t, "marks", marks(d), "a=tag")
}

// TestMark shows the value of the field.
func TestMark(t *testing.T) {
	t.Parallel()
	r := reason("a")
	r.Reply.Text = "{client} writes to {rcpt}: {said}"
	f := newFake("one", atConnect, r)
	f.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) {
		return []checks.Verdict{{Reason: r, Detail: map[string]string{"said": "b\r\nX-Evil: \xff"}}}, nil
	}
	talk := begin(pipeline(t, map[string]checks.Action{"a": checks.Tag}, nil, f), "192.0.2.9")
	talk.mail("a@example.net")
	talk.rcpt("u@example.org")
	want(t, "mark", talk.message().Marks[0].Mark(), "a; 192.0.2.9 writes to a recipient: b X-Evil: ?")
	long := checks.Outcome{Reason: r, Reply: checks.Reply{Text: strings.Repeat("x", 5000)}}
	if n := len(checks.MarkField + ": " + long.Mark()); n > 998 {
		t.Errorf("%d bytes", n)
	}
}
