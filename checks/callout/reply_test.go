package callout

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadReply(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in string
		want     string // String
		err      error  // as errors.Is; notSMTP("") for any
	}{
		{"one line", "250 2.1.0 OK\r\n", "250 2.1.0 OK", nil},
		{"a bare LF", "250 OK\n", "250 OK", nil},
		{"a code alone", "250\r\n", "250", nil},
		{"a code with a space", "250 \r\n", "250", nil},
		{"many lines", "550-5.1.1 no\r\n550-\r\n550 5.1.1 user\r\n", "550 5.1.1 no user", nil},
		{"an enhanced status code of another class", "550 2.1.0 no\r\n", "550 2.1.0 no", nil},
		{"control characters", "550 \x00\x1b[2J\tno\xff\r\n", "550 ??[2J no?", nil},
		{"the rest stays unread", "220 a\r\n250 b\r\n", "220 a", nil},
		{"nothing", "", "", io.EOF},
		{"half a line", "250 O", "", io.ErrUnexpectedEOF},
		{"half a reply", "250-a\r\n", "", io.EOF},
		{"other codes", "250-a\r\n251 b\r\n", "", notSMTP("")},
		{"a word", "hello\r\n", "", notSMTP("")},
		{"a code over 599", "650 a\r\n", "", notSMTP("")},
		{"a code under 200", "050 a\r\n", "", notSMTP("")},
		{"no separator", "2500 a\r\n", "", notSMTP("")},
		{"an empty line", "\r\n", "", notSMTP("")},
		{"a line of 2048 bytes", "250 " + strings.Repeat("a", 2042) + "\r\n", "250 " + strings.Repeat("a", maxShown-7) + "...", nil},
		{"a line of 2049 bytes", "250 " + strings.Repeat("a", 2043) + "\r\n", "", errLine},
		{"64 lines", strings.Repeat("250-\r\n", 63) + "250 a\r\n", "250 a", nil},
		{"65 lines", strings.Repeat("250-\r\n", 64) + "250 a\r\n", "", errLines},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := readReply(bufio.NewReaderSize(strings.NewReader(c.in), maxLine))
			if _, ok := c.err.(notSMTP); ok {
				if _, is := errors.AsType[notSMTP](err); !is {
					t.Errorf("error %v", err)
				}
				return
			}
			if !errors.Is(err, c.err) || err == nil && r.String() != c.want {
				t.Errorf("got %q, %v", r, err)
			}
		})
	}
}

func TestBytesAreLimited(t *testing.T) {
	t.Parallel()
	ours := &limitedConn{left: 10}
	ours.Conn = pipeOf(strings.Repeat("x", 100))
	got, err := io.ReadAll(ours)
	if len(got) != 10 || !errors.Is(err, errBytes) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

type textConn struct {
	conn
	io.Reader
}

func (c textConn) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func pipeOf(text string) conn { return textConn{Reader: strings.NewReader(text)} }

func TestRepliesToRcpt(t *testing.T) {
	t.Parallel()
	const mailbox = "relay@spam.example.net"
	for text, want := range map[string]result{
		"550 no such user": resultRejected,
		"550 5.1.1 <" + mailbox + ">: Recipient address rejected: User unknown": resultRejected,
		"550 5.1.1 <RELAY@spam.example.net> unknown":                            resultRejected,
		"550 5.2.1 The email account that you tried to reach is disabled":       resultRejected,
		"550 5.4.1 Recipient address rejected: Access denied":                   resultRejected,
		"550 5.5.0 Requested action not taken: mailbox unavailable":             resultRejected,
		"554 delivery error: This user doesn't have an account":                 resultRejected,
		"553 sorry, no mailbox here by that name":                               resultRejected,
		"556 5.1.10 takes no mail":                                              resultRejected,
		"550 5.7.1 Unfortunately, messages from 192.0.2.1 weren't sent":         resultRefused,
		"550 mail from your host is refused":                                    resultRefused,
		"554 rejected: listed at zen.spamhaus.org":                              resultRefused,
		"550 SPF check failed":                                                  resultRefused,
		"550 You are greylisted, please retry":                                  resultRefused,
		"550 5.1.8 bad sender domain":                                           resultRefused,
		"550 5.1.7 what a mailbox":                                              resultRefused,
		"550 relaying denied":                                                   resultRefused,
		"550 Callback setup failed while verifying":                             resultRefused,
		"550 null sender not allowed":                                           resultRefused,
		"530 authentication required":                                           resultRefused,
		"503 5.5.1 bad sequence":                                                resultRefused,
		"501 syntax":                                                            resultRefused,
		"552 5.2.2 mailbox full":                                                resultTemporary,
		"550 5.2.2 over quota":                                                  resultTemporary,
		"550 5.3.0 system trouble":                                              resultTemporary,
		"550 Administrative prohibition":                                        resultRefused,
		"554 your IP address is black listed":                                   resultRefused,
		"550 5.1.0 you are not on our white list":                               resultRefused,
		"550 <" + mailbox + ">: user is over quota":                             resultTemporary,
		"554 delivery error: the mailbox is full":                               resultTemporary,
		"550 5.1.1 Mailbox quota exceeded":                                      resultTemporary,
		"550 User quota@example.net unknown":                                    resultTemporary, // doubtful words say nothing against a sender
		"550 5.1.1 User unknown; full details at https://example.net":           resultRejected,
		"550 User unknown - full details at https://example.net":                resultRejected,
		"554 over_quota":                                                        resultTemporary,
		"550 mailbox status: full":                                              resultTemporary,
		"550 user <" + mailbox + ">: full":                                      resultTemporary,
		"550 the mailbox bob@a.example.net is full":                             resultTemporary,
		"550 our server is in a blocklist":                                      resultRefused,
		"550 full name unknown":                                                 resultRejected,
	} {
		r, err := readReply(bufio.NewReader(strings.NewReader(text + "\r\n")))
		if err != nil || r.toRcpt(mailbox) != want {
			t.Errorf("%s: got %s, %v", text, r.toRcpt(mailbox), err)
		}
	}
}

// FuzzReadReply tests that a reply has the form that SMTP allows, can be shown, and is parsed as the same when it is written again.
func FuzzReadReply(f *testing.F) {
	for _, s := range []string{
		"220 mx ESMTP\r\n", "250-mx\r\n250-SIZE 1\r\n250 STARTTLS\r\n", "550 5.1.1 no\n", "250\r\n", "550-5.1.1 a\r\n550 b\r\n", "\xff\x00\r\n", "250 2.0.0\r\n",
		"250-\r\n251 \r\n", "550 5.1.1 5.1.1 x\r\n", strings.Repeat("250-a\r\n", 70), strings.Repeat("2", 3000), "250-2.0.0 x\r\n250 2.0.0 y\r\n250 z\r\n",
	} {
		f.Add(s, "bob@example.net")
	}
	f.Fuzz(func(t *testing.T, in, mailbox string) {
		src := strings.NewReader(in)
		b := bufio.NewReaderSize(src, maxLine)
		r, err := readReply(b)
		if read := len(in) - src.Len() - b.Buffered(); read > maxLine*maxLines {
			t.Errorf("read %d bytes", read)
		}
		if err != nil {
			if len(cause(err)) > maxShown || strings.ContainsFunc(cause(err), unprintable) {
				t.Errorf("cause %q", cause(err))
			}
			return
		}
		if r.Code < 200 || r.Code > 599 || len(r.Lines) == 0 || len(r.Lines) > maxLines || r.class() != r.Code/100 {
			t.Fatalf("%+v", r)
		}
		if r.Enhanced != "" && r.Enhanced[0] != r.String()[0] {
			t.Errorf("%d with %s", r.Code, r.Enhanced)
		}
		if s := r.String(); len(s) > maxShown || strings.ContainsFunc(s, unprintable) {
			t.Errorf("shown as %q", s)
		}
		r.toRcpt(mailbox)
		r.needsTLS()
		r.offers("STARTTLS")
		if r.Enhanced == "" {
			return // a text that looks like an enhanced status code would be parsed as one
		}
		var out strings.Builder
		for i, line := range r.Lines {
			sep := "-"
			if i == len(r.Lines)-1 {
				sep = " "
			}
			out.WriteString(r.String()[:3] + sep + r.Enhanced + " " + line + "\r\n")
		}
		again, err := readReply(bufio.NewReaderSize(strings.NewReader(out.String()), 2*maxLine))
		if err != nil || again.Code != r.Code || again.Enhanced != r.Enhanced || strings.Join(again.Lines, "\n") != strings.Join(r.Lines, "\n") {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
	})
}

func unprintable(c rune) bool { return c < ' ' || c > '~' }
