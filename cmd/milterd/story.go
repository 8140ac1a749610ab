package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"milterd/checks"
)

// tell tells a decision as a story: who did what, what each check saw and found, what was answered and what to do about it.
func tell(w io.Writer, d decided) {
	if d.trusted {
		paragraph(w, "", "This client is trusted: nothing is checked.")
		return
	}
	if len(d.Results) == 0 {
		e := d.session.Envelope
		switch {
		case len(e.Header) > 0:
			paragraph(w, "   ", "No check is asked about the message.")
		case len(e.Rcpts) > 0:
			paragraph(w, "   ", "No check is asked about mail to <"+d.session.Rcpt().Text+">.")
		}
		return
	}
	fmt.Fprintln(w)
	paragraph(w, "   ", setting(d))
	var spoke, content []string // checks; those of the second have nothing to say
	for _, r := range d.Results {
		if len(r.Outcomes) > 0 || r.Err != nil {
			spoke = append(spoke, r.Check)
			tellResult(w, r)
		} else if !slices.Contains(content, r.Check) {
			content = append(content, r.Check)
		}
	}
	content = slices.DeleteFunc(content, func(check string) bool { return slices.Contains(spoke, check) })
	if len(content) > 0 {
		paragraph(w, "   - ", "Nothing wrong was found by "+enumerate(content)+".")
	}
	tellEnd(w, d)
	fmt.Fprintln(w)
}

// setting says who wants what.
func setting(d decided) string {
	s := d.session
	who := "A program on this host"
	if s.Client.IsValid() {
		who = "The client " + s.Client.String()
	}
	helo := "which has not said HELO"
	if s.Helo != "" {
		helo = "calling itself " + s.Helo
	}
	from := "<" + s.Envelope.MailFrom.Text + ">"
	if s.Envelope.MailFrom.IsNull() {
		from = "nobody (the null reverse-path of a bounce)"
	}
	if len(s.Envelope.Header) > 0 {
		return fmt.Sprintf("%s has sent the header section of its message from %s.", who, from)
	}
	if len(s.Envelope.Rcpts) == 0 {
		return fmt.Sprintf("%s, %s, wants to send mail from %s.", who, helo, from)
	}
	return fmt.Sprintf("%s, %s, wants to send mail from %s to <%s>.", who, helo, from, s.Rcpt().Text)
}

// tellResult tells what one check has found.
func tellResult(w io.Writer, r checks.Result) {
	for _, o := range r.Outcomes {
		paragraph(w, "   - ", fmt.Sprintf("%s: %s. That is %s, %s.", r.Check, o.Reply.Text, o.Reason.ID, consequence(o)))
	}
	if r.Err != nil {
		paragraph(w, "   - ", fmt.Sprintf("%s could not find out: %s.", r.Check, r.Err))
	}
	for _, a := range r.Asked {
		paragraph(w, "       ", fmt.Sprintf("The DNS was asked for %s and said: %s.", a.Question, strings.TrimSuffix(a.Said(), ".")))
	}
	for _, note := range r.Notes {
		paragraph(w, "       ", note+".")
	}
}

// consequence says what the policy makes of a reason.
func consequence(o checks.Outcome) string {
	switch o.Action {
	case checks.Off:
		return "which the configuration has switched off"
	case checks.Watch:
		return "which is watched: it goes into the log, and the mail passes"
	case checks.Greylist:
		return "a suspicion: mail like this may have to wait and come again"
	case checks.Tempfail:
		return "for which mail is sent back for now"
	default:
		return "for which mail is refused"
	}
}

// tellEnd tells what was answered.
func tellEnd(w io.Writer, d decided) {
	if d.Reply == nil {
		if len(d.session.Envelope.Header) > 0 {
			paragraph(w, "   ", "So the message is taken.")
		} else {
			paragraph(w, "   ", "So the server goes on.")
		}
		return
	}
	verb := "refused for good"
	if d.Action == checks.Tempfail {
		verb = "to be sent again later"
	}
	paragraph(w, "   ", fmt.Sprintf("So it is %s: %s", verb, strings.Join(d.Reply.Lines(), " ")))
	paragraph(w, "   Why: ", d.Reason.Why)
	paragraph(w, "   What helps: ", d.Reason.Remedy)
}

// enumerate joins words: "a, b and c".
func enumerate(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// storyWidth is how long a line of a story is, in octets.
const storyWidth = 100

// paragraph prints a text with an indentation, broken into lines. What came from outside is made fit for a terminal.
func paragraph(w io.Writer, lead, text string) {
	indent := strings.Repeat(" ", len(lead))
	line := lead
	for _, word := range strings.Fields(checks.Clean(text, 10*shownLine)) {
		if len(line)+len(word) >= storyWidth && strings.TrimSpace(line) != "" && len(line) > len(indent) {
			fmt.Fprintln(w, strings.TrimRight(line, " "))
			line = indent
		}
		line += word + " "
	}
	fmt.Fprintln(w, strings.TrimRight(line, " "))
}
