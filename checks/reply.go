package checks

import (
	"fmt"
	"iter"
	"strings"
)

// Reply is an SMTP reply, RFC 5321 section 4.2.
type Reply struct {
	Code     int    // 4yz or 5yz
	Enhanced string // enhanced status code, RFC 3463, of the same class as Code: "5.7.25"
	Text     string
	Link     string // to the page that explains it, printable US-ASCII; may be empty
}

// Temporary returns the 4yz form of a 5yz reply: 550 becomes 450, any other code 451, and the class of the enhanced status
// code 4. It returns a 4yz reply unchanged.
func (r Reply) Temporary() Reply {
	switch {
	case r.Code < 500:
		return r
	case r.Code == 550:
		r.Code = 450
	default:
		r.Code = 451
	}
	r.Enhanced = "4" + strings.TrimPrefix(r.Enhanced, "5")
	return r
}

const (
	// maxValue is the length of one value in a reply, in bytes. Half of it would cut long host names; twice as much would
	// leave room for an advertisement.
	maxValue = 160
	// maxLine is the length of a reply line without its CRLF, in bytes. RFC 5321 section 4.5.3.1.5 allows 512 with CRLF;
	// Sendmail puts "<address>... " in front, and an address has up to 256.
	maxLine = 512 - 2 - 262
	// maxLines is the number of lines of a reply. Sendmail and many clients show only the first few.
	maxLines = 6
)

// TimeLayout is the layout of times in replies, for time.Format. The zone is UTC.
const TimeLayout = "2006-01-02 15:04 MST"

// TextParts yields the literal parts of Reply.Text, each with the name of the {placeholder} that follows it; the last one has none.
func TextParts(text string) iter.Seq2[string, string] {
	return func(yield func(literal, name string) bool) {
		for {
			literal, after, open := strings.Cut(text, "{")
			name, rest, closed := strings.Cut(after, "}")
			if !open || !closed {
				yield(text, "")
				return
			}
			if !yield(literal, name) {
				return
			}
			text = rest
		}
	}
}

// fill returns a reply with its placeholders replaced by values of detail, or else of the session. Values become printable
// US-ASCII and are shortened.
func (s *Session) fill(r Reply, detail map[string]string) Reply {
	var b strings.Builder
	for literal, name := range TextParts(r.Text) {
		b.WriteString(literal)
		if name == "" {
			break
		}
		v, ok := detail[name]
		if !ok {
			v, ok = s.Value(name)
		}
		if !ok {
			v = "{" + name + "}"
		}
		b.WriteString(Clean(v, maxValue))
	}
	r.Text = b.String()
	return r
}

// Value returns the value of a placeholder that the session can fill. ok is false for any other placeholder.
func (s *Session) Value(placeholder string) (value string, ok bool) {
	switch placeholder {
	case "client":
		if !s.Client.IsValid() {
			return "the client", true
		}
		return s.Client.String(), true
	case "client_name":
		return s.ClientName, true
	case "helo":
		return s.Helo, true
	case "mail_from":
		return "<" + s.Envelope.MailFrom.Text + ">", true
	case "domain":
		return s.Envelope.MailFrom.Domain, true
	case "rcpt":
		return "<" + s.Rcpt().Text + ">", true
	default:
		return "", false
	}
}

// Clean returns remote bytes as printable US-ASCII of at most limit bytes. A run of white space becomes one space, any other
// byte a question mark. A longer text is cut and ends with "...".
func Clean(s string, limit int) string {
	var b strings.Builder
	b.Grow(min(len(s), limit))
	space := false
	for i := 0; i < len(s) && b.Len() <= limit; i++ {
		switch c := s[i]; {
		case c == ' ' || c >= '\t' && c <= '\r':
			space = b.Len() > 0
		default:
			if space {
				b.WriteByte(' ')
				space = false
			}
			if c < ' ' || c > '~' {
				c = '?'
			}
			b.WriteByte(c)
		}
	}
	out := b.String()
	if len(out) > limit {
		out = out[:max(0, limit-3)] + "..."
	}
	return out
}

// Lines returns the lines of the reply as sent, without CRLF: printable US-ASCII, each with the codes, within the length of
// RFC 5321 section 4.5.3.1.5, all but the last with the hyphen of section 4.2.1. A link that is too long for one line is
// omitted.
func (r Reply) Lines() []string {
	width := maxLine - len("550 ") - len(r.Enhanced) - 1
	text := Clean(r.Text, maxLines*width)
	var texts []string
	if r.Link == "" || len(r.Link) > width {
		texts = fold(text, width, maxLines)
	} else {
		// Mail clients recognise a link only if it is whole and alone on its line.
		texts = append(fold(text+";", width, maxLines-1), r.Link)
	}
	lines := make([]string, len(texts))
	for i, text := range texts {
		sep := "-"
		if i == len(texts)-1 {
			sep = " "
		}
		lines[i] = fmt.Sprintf("%03d%s%s %s", r.Code, sep, r.Enhanced, text)
	}
	return lines
}

// String returns the reply in one line: "550 5.7.25 192.0.2.9 has no reverse DNS name; https://mx.example.org/why/rdns-missing".
func (r Reply) String() string {
	text := fmt.Sprintf("%03d %s %s", r.Code, r.Enhanced, r.Text)
	if r.Link != "" {
		text += "; " + r.Link
	}
	return text
}

// fold breaks a text into at most limit lines of at most width bytes, at spaces where possible.
func fold(text string, width, limit int) []string {
	var lines []string
	for len(text) > width && len(lines) < limit-1 {
		cut := strings.LastIndexByte(text[:width+1], ' ')
		if cut <= 0 {
			cut = width
		}
		lines = append(lines, text[:cut])
		text = strings.TrimPrefix(text[cut:], " ")
	}
	return append(lines, text[:min(len(text), width)])
}
