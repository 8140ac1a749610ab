package checks

import (
	"fmt"
	"strings"
)

const (
	// maxValue is how many octets of one value stand in a reply: enough to recognise any name, too little to write a
	// letter in.
	maxValue = 160
	// maxLine is the length of a reply line without its CRLF. RFC 5321 section 4.5.3.1.5 allows 512 octets with CRLF;
	// Sendmail puts "<address>... " in front, and an address has up to 256 octets.
	maxLine = 512 - 2 - 262
	// maxLines bounds a reply: what a postmaster still reads.
	maxLines = 6
)

// fill completes a reply: its placeholders are filled from detail, else from the session, and every value is made
// printable US-ASCII and shortened.
func (s *Session) fill(r Reply, detail map[string]string) Reply {
	var b strings.Builder
	rest := r.Text
	for {
		before, after, open := strings.Cut(rest, "{")
		b.WriteString(before)
		if !open {
			break
		}
		name, after, closed := strings.Cut(after, "}")
		if !closed {
			b.WriteString("{" + name)
			break
		}
		v, ok := detail[name]
		if !ok {
			v = s.value(name)
		}
		b.WriteString(Clean(v, maxValue))
		rest = after
	}
	r.Text = b.String()
	return r
}

// value is what a placeholder stands for if a verdict does not say.
func (s *Session) value(name string) string {
	switch name {
	case "client":
		if !s.Client.IsValid() {
			return "the client"
		}
		return s.Client.String()
	case "client_name":
		return s.ClientName
	case "helo":
		return s.Helo
	case "mail_from":
		return "<" + s.Envelope.MailFrom.Text + ">"
	case "domain":
		return s.Envelope.MailFrom.Domain
	case "rcpt":
		return "<" + s.Rcpt().Text + ">"
	default:
		return "{" + name + "}"
	}
}

// Clean makes remote bytes fit to be shown: printable US-ASCII alone, runs of white space as one space, everything else
// as a question mark, and at most limit octets, the end being cut off with "...".
func Clean(s string, limit int) string {
	if isClean(s, limit) {
		return s
	}
	var b strings.Builder
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

// isClean tells whether there is nothing for Clean to do, as is usual.
func isClean(s string, limit int) bool {
	if len(s) > limit || strings.HasPrefix(s, " ") || strings.HasSuffix(s, " ") {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == ' ' && s[i-1] == ' ' {
			return false
		}
	}
	return true
}

// Lines is the reply as it goes over the wire, without the line ends: printable US-ASCII, each line with the codes and
// short enough for RFC 5321 section 4.5.3.1.5, all but the last with the hyphen of section 4.2.1. A link too long for a line
// is left out.
func (r Reply) Lines() []string {
	width := maxLine - len("550 ") - len(r.Enhanced) - 1
	text := Clean(r.Text, maxLines*width)
	var texts []string
	if r.Link == "" || len(r.Link) > width {
		texts = fold(text, width, maxLines)
	} else {
		// Nobody can follow a link that is broken, or that other words stick to: it has the last line for itself.
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

// String is the reply as one reads it: "550 5.7.25 192.0.2.9 has no reverse DNS name; https://mx.example.org/why/rdns-missing".
func (r Reply) String() string {
	text := fmt.Sprintf("%03d %s %s", r.Code, r.Enhanced, r.Text)
	if r.Link != "" {
		text += "; " + r.Link
	}
	return text
}

// fold breaks a text at spaces, and within a word only if that word alone is too long, into lines of at most width
// octets.
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
