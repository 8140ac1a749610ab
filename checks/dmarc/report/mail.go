package report

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"milterd/checks/facts/dmarc"
	"milterd/checks/facts/dmarc/aggregate"
)

func (p *Reporter) document(o Outgoing, record dmarc.Record) ([]byte, error) {
	letter := func(set bool, yes, no string) string {
		if set {
			return yes
		}
		return no
	}
	report := aggregate.Report{
		Organization: cmp.Or(p.settings.Org, p.settings.domain()), Email: p.settings.From, ID: p.reportID(o),
		Begin: o.Day, End: o.end(), Generator: "milterd",
		Policy: aggregate.Policy{
			Domain: o.Domain, P: record.Domain.String(), SP: record.Subdomains.String(), NP: record.Nonexistent.String(),
			ADKIM: letter(record.StrictDKIM, "s", "r"), ASPF: letter(record.StrictSPF, "s", "r"),
			Testing: letter(record.Testing, "y", "n"), Discovery: "treewalk",
		},
		Records: o.records,
	}
	return report.Write()
}

// reportID returns the Report-ID, section 3.5.1. It is the same when a report is sent again, also by another host.
func (p *Reporter) reportID(o Outgoing) string {
	return o.Day.Format("20060102") + "." + o.Domain + "." + o.Origin + "@" + p.settings.domain()
}

// origin returns a text that distinguishes this host from hosts with another store that report in the name of the same domain.
func (p *Reporter) origin() string {
	sum := sha256.Sum256([]byte(p.env.Site.Hostname))
	return hex.EncodeToString(sum[:4])
}

// message returns the message with a report, section 3.5.2.
func (p *Reporter) message(o Outgoing, document []byte, to []string, now time.Time) ([]byte, error) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(document); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	id, receiver := p.reportID(o), p.settings.domain()
	file := fmt.Sprintf("%s!%s!%d!%d!%s.xml.gz", receiver, o.Domain, o.Day.Unix(), o.end().Unix(), o.Origin)
	boundary := "=_" + o.Origin + o.Day.Format("20060102") // base64 has no "=_"
	var m bytes.Buffer
	field := func(name, value string) { fmt.Fprintf(&m, "%s: %s\r\n", name, value) }
	field("From", (&mail.Address{Name: cmp.Or(p.settings.Org, receiver), Address: p.settings.From}).String())
	field("To", strings.Join(to, ",\r\n "))
	field("Subject", "Report Domain: "+o.Domain+"\r\n Submitter: "+receiver+"\r\n Report-ID: <"+id+">")
	field("Date", now.Format(time.RFC1123Z))
	field("Message-ID", "<"+id+">")
	field("Auto-Submitted", "auto-generated")
	field("MIME-Version", "1.0")
	field("Content-Type", "multipart/mixed;\r\n boundary=\""+boundary+"\"")
	fmt.Fprintf(&m, "\r\n--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n", boundary)
	fmt.Fprintf(&m, "This is a DMARC aggregate report (RFC 9990) about %s on %s (UTC).\r\n", o.Domain, o.Day.Format(time.DateOnly))
	fmt.Fprintf(&m, "%d messages came with this domain in From, of which %d pass DMARC.\r\n", o.Messages, o.Passed)
	fmt.Fprintf(&m, "\r\n--%s\r\n", boundary)
	field("Content-Type", "application/gzip")
	field("Content-Transfer-Encoding", "base64")
	field("Content-Disposition", "attachment;\r\n filename=\""+file+"\"")
	m.WriteString("\r\n")
	const lineBytes = 57 // of 76 characters
	for line := range slices.Chunk(packed.Bytes(), lineBytes) {
		m.WriteString(base64.StdEncoding.EncodeToString(line) + "\r\n")
	}
	fmt.Fprintf(&m, "--%s--\r\n", boundary)
	return m.Bytes(), nil
}

// submit submits a message to the mail server of the site. It returns the recipients that were accepted, and those that were refused
// with the replies.
func (p *Reporter) submit(ctx context.Context, to []string, message []byte) (accepted, refused []string, err error) {
	ctx, cancel := withoutDeadline(ctx, submitTimeout)
	defer cancel()
	conn, err := p.env.Dial(ctx, "tcp", p.settings.Submit)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errSubmission, err)
	}
	defer func() { _ = conn.Close() }() // QUIT was sent, or there is an error
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	host, _, _ := net.SplitHostPort(p.settings.Submit)
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errSubmission, err)
	}
	if err := cmp.Or(c.Hello(p.env.Site.Hostname), c.Mail(p.settings.From)); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errSubmission, err)
	}
	permanent := true
	for _, address := range to {
		if err := c.Rcpt(address); err != nil {
			refused = append(refused, fmt.Sprintf("%s: %v", address, err))
			permanent = permanent && isPermanent(err)
			continue
		}
		accepted = append(accepted, address)
	}
	if len(accepted) == 0 {
		err := errors.New(strings.Join(refused, "; "))
		if permanent {
			err = permanentError{err}
		}
		return nil, nil, err
	}
	w, err := c.Data()
	if err == nil {
		_, err = w.Write(message)
		err = errors.Join(err, w.Close())
	}
	if isPermanent(err) {
		return nil, nil, permanentError{err}
	}
	if err != nil {
		return nil, nil, err
	}
	_ = c.Quit() // the server has the message
	return accepted, refused, nil
}

// withoutDeadline returns a context with a deadline of its own instead of that of ctx. If ctx is cancelled, as at the end of the daemon,
// it is too.
func withoutDeadline(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	stop := context.AfterFunc(ctx, func() {
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			cancel()
		}
	})
	return own, func() { stop(); cancel() }
}

func isPermanent(err error) bool {
	var reply *textproto.Error
	return errors.As(err, &reply) && reply.Code >= 500
}
