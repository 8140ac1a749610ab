package feedback

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"milterd/checks/facts/dmarc/aggregate"
	"milterd/cmd/milterd/internal/mailbox"
)

// Result is what Read found.
type Result struct {
	Reports    []*aggregate.Report // each once
	Files      int                 // that were read
	Messages   int                 // that were read
	Duplicates int                 // reports that came again
	Faults     []string            // files and messages that may have a report and cannot be read: the first, see maxFaults
	Unread     int                 // how many those are
}

// Limits of Read. A year of reports to a large site has less; a mailbox in which somebody sends forged ones may have more.
const (
	maxReports = 20_000
	maxRecords = 2_000_000
	maxFaults  = 20
)

const (
	maxReport = 16 << 20 // bytes of a file that is a report
	maxStart  = 2 << 10  // bytes that are read to find out what a file is; gzip needs some hundred for its first ones
)

// Read reads the reports in mbox files, Maildirs, folders and single messages, and files that are reports: XML, also compressed by
// gzip or in a ZIP archive. The error is that of ctx, or that there are too many reports.
func Read(ctx context.Context, paths []string) (*Result, error) {
	s := &search{seen: map[string]bool{}, maxRecords: maxRecords}
	if err := s.read(ctx, paths); err != nil {
		return nil, err
	}
	return &s.Result, nil
}

// search reads files.
type search struct {
	Result
	seen       map[string]bool // reports, by what is unique of them
	records    int             // in the reports
	maxRecords int
}

func (s *search) read(ctx context.Context, paths []string) error {
	for file, err := range mailbox.Walk(paths) {
		if err != nil {
			s.fault(file.Path, 0, err)
		} else {
			s.Files++
			s.readFile(ctx, file)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.full() {
			return fmt.Errorf("more than %d reports or %d records: read fewer files at once", maxReports, s.maxRecords)
		}
	}
	return nil
}

// full reports whether there are more reports or records than Read returns.
func (s *search) full() bool { return len(s.Reports) > maxReports || s.records > s.maxRecords }

// readFile reads a file with a report, or with messages.
func (s *search) readFile(ctx context.Context, file mailbox.File) {
	report, err := readReport(file.Path)
	switch {
	case errors.Is(err, errMail):
		s.readMessages(ctx, file)
	case err == nil:
		s.add(report)
	case !file.Found || !errors.Is(err, aggregate.ErrNoReport):
		s.fault(file.Path, 0, err)
	}
}

// errMail reports a file that has mail, if anything.
var errMail = errors.New("mail")

// readReport reads a file that is an XML document or a ZIP archive, or an XML document compressed by gzip. For others it returns errMail.
func readReport(path string) (*aggregate.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	r := bufio.NewReader(f)
	start, err := r.Peek(maxStart)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if bytes.HasPrefix(start, []byte("\x1f\x8b")) {
		z, err := gzip.NewReader(bytes.NewReader(start))
		if err != nil {
			return nil, err
		}
		inside := make([]byte, 512)
		n, _ := io.ReadFull(z, inside) // the end is missing
		start = inside[:n]
	}
	start = bytes.TrimSpace(bytes.TrimPrefix(start, []byte("\ufeff")))
	if !bytes.HasPrefix(start, []byte("PK\x03\x04")) && !bytes.HasPrefix(start, []byte("<")) {
		return nil, errMail
	}
	data, err := io.ReadAll(io.LimitReader(r, maxReport+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxReport {
		return nil, errors.New("over 16 MiB")
	}
	return aggregate.Parse(data)
}

// readMessages reads a file of messages.
func (s *search) readMessages(ctx context.Context, file mailbox.File) {
	var body boundedBuffer
	for m := range file.Messages(ctx, func(string) io.Writer { body.reset(); return &body }) {
		s.Messages++
		if m.Err != nil {
			s.fault(m.File, m.Number, m.Err)
			continue
		}
		var reports []*aggregate.Report
		err := errTooLong
		if !body.full {
			reports, err = inMessage(m.Head, body.text, maxMessageRecords)
		}
		if err != nil && hasReportSubject(m.Head) { // else it is other mail
			s.fault(m.File, m.Number, err)
		}
		for _, r := range reports {
			s.add(r)
		}
		if s.full() {
			return // a mailbox may be one large file
		}
		body.reset() // a message without a body does not ask for one
	}
}

// hasReportSubject reports whether a message has the subject of a report, RFC 9990 section 3.5.2.
func hasReportSubject(head string) bool {
	return strings.Contains("\n"+strings.ToLower(head), "\nsubject: report domain:")
}

// add adds a report unless it was added before.
func (s *search) add(r *aggregate.Report) {
	unique := strings.Join([]string{r.Organization, r.Email, r.ID, r.Policy.Domain, r.Begin.String()}, "\x00")
	if s.seen[unique] {
		s.Duplicates++
		return
	}
	s.seen[unique] = true
	s.Reports = append(s.Reports, r)
	s.records += len(r.Records)
}

// fault notes what cannot be read. number is that of a message in a file, or 0.
func (s *search) fault(path string, number int, err error) {
	if s.Unread++; s.Unread > maxFaults {
		return
	}
	place := filepath.Clean(path)
	if number > 0 {
		place += fmt.Sprintf(", message %d", number)
	}
	s.Faults = append(s.Faults, fmt.Sprintf("%s: %v", place, err))
}

// boundedBuffer keeps at most maxBody bytes. It embeds no bytes.Buffer, whose other methods would write without the limit.
type boundedBuffer struct {
	text []byte
	full bool // there were more
}

func (b *boundedBuffer) reset() { b.text, b.full = b.text[:0], false }

// Write implements io.Writer.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.full = b.full || len(b.text)+len(p) > maxBody; !b.full {
		b.text = append(b.text, p...)
	}
	return len(p), nil
}
