package feedback

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"

	"milterd/checks/facts/dmarc/aggregate"
)

// Limits of a message.
const (
	maxBody  = 24 << 20 // bytes of its body; reports are compressed and have next to never more than 1 MiB
	maxParts = 50
	maxDepth = 5 // of multiparts
	// maxMessageRecords is how many records the reports of a message have, as many as one report. 100,000 may come from a part of some KiB.
	maxMessageRecords = 100_000
)

var (
	errTooLong  = errors.New("a message over 24 MiB")
	errTooDeep  = errors.New("parts that are nested too deep")
	errTooMany  = errors.New("too many parts")
	errRecords  = errors.New("too many records in the reports of one message")
	errBoundary = errors.New("a multipart without a boundary")
)

// finder looks for reports in the parts of a message.
type finder struct {
	reports []*aggregate.Report
	records int // in the reports
	limit   int // of records
	parts   int
	err     error // the first part that looks like a report and cannot be read
}

// inMessage returns the reports in a message, which have at most limit records. The error is of a part that may have been one. A
// message without any has neither.
func inMessage(head string, body []byte, limit int) ([]*aggregate.Report, error) {
	message, err := mail.ReadMessage(io.MultiReader(strings.NewReader(strings.TrimRight(head, "\r\n")), strings.NewReader("\r\n\r\n"), bytes.NewReader(body)))
	if err != nil {
		return nil, err
	}
	f := finder{limit: limit}
	if err := f.readPart(textproto.MIMEHeader(message.Header), message.Body, 0); err != nil {
		f.err = err
	}
	if len(f.reports) > 0 && !errors.Is(f.err, errRecords) {
		return f.reports, nil
	}
	return nil, f.err
}

// readPart looks for reports in a part. The error means that the rest of the message cannot be read.
func (f *finder) readPart(header textproto.MIMEHeader, body io.Reader, depth int) error {
	kind, parameters, _ := mime.ParseMediaType(header.Get("Content-Type"))
	switch {
	case strings.HasPrefix(kind, "multipart/"):
		return f.readMultipart(body, parameters["boundary"], depth)
	case kind == "message/rfc822": // a report that was forwarded, or that came back
		if depth == maxDepth {
			return errTooDeep
		}
		message, err := mail.ReadMessage(body)
		if err != nil {
			return err
		}
		return f.readPart(textproto.MIMEHeader(message.Header), message.Body, depth+1)
	}
	content, err := decode(header.Get("Content-Transfer-Encoding"), body)
	if err != nil && len(content) == 0 {
		return nil // no report begins like this
	}
	report, err := aggregate.Parse(content)
	switch {
	case err == nil:
		f.reports = append(f.reports, report)
		if f.records += len(report.Records); f.records > f.limit {
			return errRecords
		}
	case !errors.Is(err, aggregate.ErrNoReport) && f.err == nil && mayBeReport(header):
		f.err = err
	}
	return nil
}

func (f *finder) readMultipart(body io.Reader, boundary string, depth int) error {
	switch {
	case boundary == "":
		return errBoundary
	case depth == maxDepth:
		return errTooDeep
	}
	parts := multipart.NewReader(body, boundary)
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if f.parts++; f.parts > maxParts {
			return errTooMany
		}
		if err := f.readPart(part.Header, part, depth+1); err != nil {
			return err
		}
	}
}

// mayBeReport reports whether a part is one of a report by its type or name: section 3.5.2 of RFC 9990, and what others use.
func mayBeReport(header textproto.MIMEHeader) bool {
	kind := strings.ToLower(header.Get("Content-Type") + header.Get("Content-Disposition"))
	for _, word := range []string{"zip", "xml", ".gz"} {
		if strings.Contains(kind, word) {
			return true
		}
	}
	return false
}

// decode returns the content of a part, or what comes before an error.
func decode(encoding string, body io.Reader) ([]byte, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		text, err := io.ReadAll(body)
		content, errDecode := base64.StdEncoding.AppendDecode(nil, bytes.Map(base64Letter, text))
		return content, cmp.Or(errDecode, err)
	case "quoted-printable":
		return io.ReadAll(quotedprintable.NewReader(body))
	default:
		return io.ReadAll(body)
	}
}

// base64Letter drops a character that base64 does not have, as RFC 2045 section 6.8 asks for.
func base64Letter(c rune) rune {
	if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '=' {
		return c
	}
	return -1
}
