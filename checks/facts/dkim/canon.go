package dkim

import (
	"bufio"
	"crypto/sha256"
	"hash"
	"maps"
	"strings"

	"milterd/headers"
)

const crlf = "\r\n"

type digest = [sha256.Size]byte // every known algorithm uses SHA-256

// section is a header section, with the fields of each name chained from the last to the first. Indexes count from 1, so
// that 0 is no field.
type section struct {
	fields   []headers.Field
	last     map[string]int // last field with a lower-case name
	previous []int          // by field: the previous one of the same name
	work     *work
	line     []byte // canonical field, reused
}

func newSection(fields []headers.Field, work *work) *section {
	s := &section{fields: fields, previous: make([]int, len(fields)+1), last: make(map[string]int, len(fields)), work: work}
	for i, f := range fields {
		name := strings.ToLower(strings.TrimRight(f.Name, " \t"))
		s.previous[i+1], s.last[name] = s.last[name], i+1
	}
	work.namesLookedUp += len(fields)
	return s
}

// singular are fields that occur once, RFC 5322 section 3.6, or that decide how the body is shown. A second one that a
// signature does not cover would show the reader what the signer did not write, section 8.15.
var singular = [...]string{"From", "Subject", "Date", "To", "Cc", "Content-Type"}

// hash returns the hash of the header for a signature, sections 3.7 and 5.4.2. added is a singular field that occurs twice and
// is not covered each time, or "".
func (s *section) hash(sig *signature) (sum digest, added string) {
	h, next := sha256.New(), maps.Clone(s.last) // next: the field that a name selects next
	for _, name := range sig.names {
		at := next[name]
		if at == sig.field+1 { // the signature did not exist when it was made
			at = s.previous[at]
		}
		if at > 0 {
			s.line = append(appendField(s.line[:0], s.fields[at-1], sig.relaxed), crlf...)
			s.work.hashedBytes += len(s.line)
			h.Write(s.line)
		}
		next[name] = s.previous[at]
	}
	s.work.namesLookedUp += len(sig.names)
	for _, shown := range singular {
		if name := strings.ToLower(shown); next[name] > 0 && s.previous[s.last[name]] > 0 {
			added = shown
		}
	}
	h.Write(appendField(nil, headers.Field{Name: s.fields[sig.field].Name, Value: sig.rest}, sig.relaxed))
	return digest(h.Sum(nil)), added
}

// appendField appends a canonical field without its line end, sections 3.4.1 and 3.4.2. A milter receives a fold as LF that
// was CRLF on the wire.
func appendField(to []byte, f headers.Field, relaxed bool) []byte {
	if !relaxed {
		value := strings.ReplaceAll(strings.ReplaceAll(f.Value, crlf, "\n"), "\n", crlf)
		return append(append(append(to, f.Name...), ':'), value...)
	}
	to = append(append(to, strings.ToLower(strings.TrimRight(f.Name, " \t"))...), ':')
	start, space := len(to), false
	for i := range len(f.Value) {
		switch c := f.Value[i]; {
		case c == ' ' || c == '\t':
			space = true
		case c == '\n', c == '\r' && strings.HasPrefix(f.Value[i:], crlf): // a fold
		default:
			if space && len(to) > start {
				to = append(to, ' ')
			}
			to, space = append(to, c), false
		}
	}
	return to
}

// body hashes a body in one canonicalisation, sections 3.4.3 and 3.4.4.
type body struct {
	relaxed bool
	hash    hash.Hash
	out     *bufio.Writer // to hash
	total   *digest

	text                 bool // there was something other than line ends
	lines                int  // line ends that count only if text follows
	space                bool // white space that counts only if text follows in the line
	cr                   bool // the last byte was a CR
	crlf, bareLF, bareCR bool // there were such line ends
}

func newBody(relaxed bool) *body {
	h := sha256.New()
	return &body{relaxed: relaxed, hash: h, out: bufio.NewWriterSize(h, 2<<10)}
}

// write hashes the next part of the body.
func (b *body) write(p []byte) {
	for len(p) > 0 {
		n := canonicalLength(p, b.relaxed)
		if b.cr && p[0] != '\n' {
			b.addCR()
		}
		switch {
		case n > 0:
			b.add(p[:n])
			p = p[n-1:]
		case p[0] == '\n':
			b.crlf, b.bareLF = b.crlf || b.cr, b.bareLF || !b.cr
			b.lines++
			b.space = false
		case p[0] != '\r':
			b.space = true
		}
		b.cr = n == 0 && p[0] == '\r'
		p = p[1:]
	}
}

// canonicalLength returns the length of the text at the beginning of p that is canonical. The text ends before CR, LF, and if relaxed,
// before white space. But a single space between printable bytes is canonical.
func canonicalLength(p []byte, relaxed bool) int {
	for n, c := range p {
		switch {
		case c > ' ':
		case c == '\r' || c == '\n':
			return n
		case relaxed && (c == '\t' || c == ' ' && (n == 0 || n+1 == len(p) || p[n+1] <= ' ')):
			return n
		}
	}
	return len(p)
}

// add adds canonical text, and before it the line ends and the white space that count because text follows.
func (b *body) add(p []byte) {
	for ; b.lines > 0; b.lines-- {
		b.out.WriteString(crlf)
	}
	if b.space {
		b.out.WriteByte(' ')
	}
	b.space, b.text = false, true
	b.out.Write(p)
}

// addCR adds a CR that is not part of a line end.
func (b *body) addCR() {
	b.bareCR = true
	b.add(nil)
	b.out.WriteByte('\r')
}

// sum returns the hash of the body, which is complete. Line ends at its end count as one. An empty body is one line end if
// simple, and nothing if relaxed.
func (b *body) sum() digest {
	if b.total != nil {
		return *b.total
	}
	if b.cr {
		b.addCR()
	}
	if b.text || !b.relaxed {
		b.out.WriteString(crlf)
	}
	b.out.Flush()
	b.total = new(digest)
	b.hash.Sum(b.total[:0])
	return *b.total
}
