package callout

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"

	"milterd/checks"
)

// Limits on what a stranger's host may send us.
const (
	// maxLine is the longest line of a reply, in octets with its line end: four times what RFC 5321 section 4.5.3.1.5 allows.
	maxLine = 2048
	// maxLines is how many lines a reply may have; the longest are those to EHLO.
	maxLines = 64
	// maxOctets is how much one connection may send, TLS handshakes and all.
	maxOctets = 128 << 10
	// maxShown is how much of a reply is kept, in octets.
	maxShown = 300
)

var (
	errLine   = fmt.Errorf("sent a line of more than %d octets", maxLine)
	errLines  = fmt.Errorf("sent a reply of more than %d lines", maxLines)
	errOctets = fmt.Errorf("sent more than %d octets", maxOctets)
	errEarly  = errors.New("went on talking in clear text after STARTTLS")
)

// garbage is a line that is no reply.
type garbage string

func (g garbage) Error() string {
	return "does not speak SMTP: " + strconv.Quote(checks.Clean(string(g), 80))
}

// reply is one reply, RFC 5321 section 4.2.
type reply struct {
	Code     int      // 200 to 599
	Enhanced string   // RFC 2034, of the first line; empty if there is none or it contradicts the code
	Lines    []string // the texts without their codes; one at least
}

// readReply reads one reply. A bare LF ends a line too, as some servers have it.
func readReply(r *bufio.Reader) (reply, error) {
	var out reply
	for range maxLines {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return reply{}, errLine
		case errors.Is(err, io.EOF) && len(line) > 0:
			return reply{}, io.ErrUnexpectedEOF
		case err != nil:
			return reply{}, err
		}
		text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
		code, rest, more, ok := splitLine(text)
		if !ok || out.Code != 0 && code != out.Code {
			return reply{}, garbage(text)
		}
		enhanced, rest := splitEnhanced(code, rest)
		if out.Code == 0 {
			out.Code, out.Enhanced = code, enhanced
		}
		out.Lines = append(out.Lines, rest)
		if !more {
			return out, nil
		}
	}
	return reply{}, errLines
}

// splitLine takes a reply line apart: Reply-line of RFC 5321 section 4.2, where the text may be missing.
func splitLine(line string) (code int, text string, more, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, "", false, false
	}
	code = 100*int(line[0]-'0') + 10*int(line[1]-'0') + int(line[2]-'0')
	switch rest := line[3:]; {
	case rest == "":
		return code, "", false, true
	case rest[0] == ' ' || rest[0] == '-':
		return code, rest[1:], rest[0] == '-', true
	default:
		return 0, "", false, false
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

var enhancedCode = regexp.MustCompile(`^[245]\.[0-9]{1,3}\.[0-9]{1,3}( |$)`)

// splitEnhanced takes the enhanced status code from the beginning of a text, if its class is that of the reply code.
func splitEnhanced(code int, text string) (enhanced, rest string) {
	if !enhancedCode.MatchString(text) || int(text[0]-'0') != code/100 {
		return "", text
	}
	enhanced, rest, _ = strings.Cut(text, " ")
	return enhanced, rest
}

// String is the reply in one line, printable and shortened: "550 5.1.1 no such user".
func (r reply) String() string {
	return checks.Clean(strings.Join([]string{strconv.Itoa(r.Code), r.Enhanced, strings.Join(r.Lines, " ")}, " "), maxShown)
}

// class is the first digit of the code.
func (r reply) class() int { return r.Code / 100 }

// offers tells whether a reply to EHLO announces a service extension, RFC 5321 section 4.1.1.1.
func (r reply) offers(extension string) bool {
	for _, line := range r.Lines[1:] {
		word, _, _ := strings.Cut(line, " ")
		if strings.EqualFold(word, extension) {
			return true
		}
	}
	return false
}

// limited ends a connection that sends more than is left.
type limited struct {
	net.Conn
	left int
}

func (c *limited) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errOctets
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
