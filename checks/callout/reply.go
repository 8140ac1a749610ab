package callout

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"milterd/checks"
)

// Limits on what a mail host may send, in bytes if not otherwise said.
const (
	// maxLine is the length of a line of a reply with its line end, four times what RFC 5321 section 4.5.3.1.5 allows. Half of
	// it would still do for almost all hosts; double needs more memory for each connection.
	maxLine = 2048
	// maxLines is the number of lines of a reply. The longest are replies to EHLO, of about 20 lines.
	maxLines = 64
	// maxBytes is what one connection may receive, including TLS handshakes.
	maxBytes = 128 << 10
	// maxShown is the length of a reply that is kept. Half of it would cut off the links that large providers send.
	maxShown = 300
)

var (
	errLine      = fmt.Errorf("sent a line of more than %d bytes", maxLine)
	errLines     = fmt.Errorf("sent a reply of more than %d lines", maxLines)
	errBytes     = fmt.Errorf("sent more than %d bytes", maxBytes)
	errEarlyData = errors.New("sent more after its reply to STARTTLS, in clear text")
)

// notSMTP is the error of a line that is no reply.
type notSMTP string

func (line notSMTP) Error() string {
	return "does not speak SMTP: " + strconv.Quote(checks.Clean(string(line), 80))
}

// reply is a reply, RFC 5321 section 4.2.
type reply struct {
	Code     int      // 200 to 599
	Enhanced string   // RFC 2034, of the first line; empty if there is none, or if its class is not that of Code
	Lines    []string // texts without the codes; at least one
}

var (
	// replyLine is Reply-line of RFC 5321 section 4.2, in which the text may be missing: the code, the separator, and the text.
	replyLine    = regexp.MustCompile(`^([2-5][0-9]{2})(?:([ -])(.*))?$`)
	enhancedCode = regexp.MustCompile(`^[245]\.[0-9]{1,3}\.[0-9]{1,3}( |$)`)
)

// readReply reads a reply. A bare LF ends a line too, as some servers send it.
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
		m := replyLine.FindStringSubmatch(text)
		if m == nil || out.Code != 0 && m[1] != strconv.Itoa(out.Code) {
			return reply{}, notSMTP(text)
		}
		code, _ := strconv.Atoi(m[1])
		enhanced, rest := splitEnhanced(code, m[3])
		if out.Code == 0 {
			out.Code, out.Enhanced = code, enhanced
		}
		out.Lines = append(out.Lines, rest)
		if m[2] != "-" {
			return out, nil
		}
	}
	return reply{}, errLines
}

// splitEnhanced splits the enhanced status code from the text, if its class is that of the code.
func splitEnhanced(code int, text string) (enhanced, rest string) {
	if !enhancedCode.MatchString(text) || int(text[0]-'0') != code/100 {
		return "", text
	}
	enhanced, rest, _ = strings.Cut(text, " ")
	return enhanced, rest
}

// String returns the reply in one line of printable US-ASCII: "550 5.1.1 no such user".
func (r reply) String() string {
	return checks.Clean(strings.Join([]string{strconv.Itoa(r.Code), r.Enhanced, strings.Join(r.Lines, " ")}, " "), maxShown)
}

// class returns the first digit of the code.
func (r reply) class() int { return r.Code / 100 }

// offers reports whether a reply to EHLO has a service extension, RFC 5321 section 4.1.1.1.
func (r reply) offers(extension string) bool {
	return slices.ContainsFunc(r.Lines[1:], func(line string) bool {
		word, _, _ := strings.Cut(line, " ")
		return strings.EqualFold(word, extension)
	})
}

// limitedConn is a connection that fails when it has received too much.
type limitedConn struct {
	net.Conn
	left int // bytes
}

func (c *limitedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errBytes
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
