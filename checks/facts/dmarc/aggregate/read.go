package aggregate

import (
	"archive/zip"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Limits of Parse. Large receivers send reports of some MiB. With half of maxDocument and maxRecords, some could not be read; with
// double, a hostile one takes twice the memory.
const (
	maxDocument   = 16 << 20 // bytes of an XML document
	maxRecords    = 100_000
	maxAttributes = 200_000 // "=" in a document: reports have next to no attributes, and each takes 64 bytes
	maxDepth      = 32      // of elements; that of reports is 5
	maxText       = 255     // bytes of a text: as long as a domain name
	maxLayers     = 2       // of compression; some senders compress twice
	maxResults    = 10      // signatures, SPF results and overrides of a record
)

// maxCount is the largest plausible count of a record. Sums of it do not overflow.
const maxCount = 1e12

// Errors of Parse.
var (
	// ErrNoReport is returned for data that is no XML document with the element feedback, and no archive with one.
	ErrNoReport   = errors.New("no DMARC aggregate report")
	errTooLong    = fmt.Errorf("over %d MiB uncompressed", maxDocument>>20)
	errTooMany    = fmt.Errorf("over %d records", maxRecords)
	errAttributes = errors.New("too many XML attributes")
	errTooDeep    = errors.New("elements that are nested too deep")
	errIncomplete = errors.New("a report without a domain or a period")
)

// Parse reads a report: an XML document, or one that is compressed by gzip or in a ZIP archive. It reads the elements of RFC 9990 and
// RFC 7489 in any order and any namespace. It leaves out records that lack an address or a count, and counts them. It expands no
// entities but those of XML itself.
func Parse(data []byte) (*Report, error) {
	document, err := uncompress(data)
	if err != nil {
		return nil, err
	}
	d, err := decode(document)
	if err != nil {
		return nil, err
	}
	r := &Report{
		Organization: clean(d.Organization), Email: clean(d.Email), ID: clean(d.ID), Generator: clean(d.Generator),
		Begin: timeOf(d.Begin), End: timeOf(d.End),
		Policy: Policy{
			Domain: name(d.Policy.Domain), P: word(d.Policy.P), SP: word(d.Policy.SP), NP: word(d.Policy.NP),
			ADKIM: word(d.Policy.ADKIM), ASPF: word(d.Policy.ASPF), Testing: word(d.Policy.Testing), Discovery: word(d.Policy.Discovery),
		},
	}
	if r.Policy.Domain == "" || r.Begin.IsZero() || r.End.Before(r.Begin) {
		return nil, errIncomplete
	}
	for _, e := range d.Records {
		if rec, ok := e.record(); ok {
			r.Records = append(r.Records, rec)
		} else {
			r.Skipped++
		}
	}
	return r, nil
}

// uncompress returns the document in data, which may have maxLayers layers of compression.
func uncompress(data []byte) ([]byte, error) {
	for range maxLayers + 1 {
		var in io.Reader
		var err error
		switch {
		case bytes.HasPrefix(data, []byte("\x1f\x8b")):
			in, err = gzip.NewReader(bytes.NewReader(data))
		case bytes.HasPrefix(data, []byte("PK\x03\x04")):
			in, err = firstDocument(data)
		default:
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		if data, err = io.ReadAll(io.LimitReader(in, maxDocument+1)); err != nil {
			return nil, err
		}
		if len(data) > maxDocument {
			return nil, errTooLong
		}
	}
	return nil, ErrNoReport
}

// firstDocument opens the document in a ZIP archive: the first file whose name ends with .xml, or else the first file.
func firstDocument(archive []byte) (io.Reader, error) {
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return nil, err
	}
	var first *zip.File
	for _, f := range z.File {
		if strings.HasSuffix(strings.ToLower(f.Name), ".xml") {
			return f.Open()
		}
		if first == nil && !f.FileInfo().IsDir() {
			first = f
		}
	}
	if first == nil {
		return nil, ErrNoReport
	}
	return first.Open()
}

func decode(text []byte) (*document, error) {
	text = bytes.TrimLeftFunc(bytes.TrimPrefix(text, []byte("\ufeff")), unicode.IsSpace)
	switch {
	case len(text) > maxDocument:
		return nil, errTooLong
	case !bytes.HasPrefix(text, []byte("<")):
		return nil, ErrNoReport
	case bytes.Count(text, []byte("=")) > maxAttributes:
		return nil, errAttributes
	}
	source := xml.NewDecoder(bytes.NewReader(bytes.ToValidUTF8(text, []byte("?"))))           // only texts have other bytes
	source.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // all have ASCII in common
	decoder := xml.NewTokenDecoder(&shallow{source: source})
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil, ErrNoReport
		}
		if err != nil {
			return nil, err
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if start.Name.Local != "feedback" {
			return nil, ErrNoReport
		}
		d := new(document)
		return d, decoder.DecodeElement(d, &start)
	}
}

// shallow reads the tokens of a document up to an element that is nested too deep: a decoder keeps all open elements.
type shallow struct {
	source *xml.Decoder
	depth  int
}

// Token implements xml.TokenReader.
func (s *shallow) Token() (xml.Token, error) {
	token, err := s.source.Token()
	switch token.(type) {
	case xml.StartElement:
		if s.depth++; s.depth > maxDepth {
			return nil, errTooDeep
		}
	case xml.EndElement:
		s.depth--
	}
	return token, err
}

// limited is a list of which the first elements are read.
type limited[T any] []T

// UnmarshalXML implements xml.Unmarshaler. It is called for each element of the list.
func (l *limited[T]) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	if len(*l) == maxResults {
		return d.Skip()
	}
	var v T
	err := d.DecodeElement(&v, &start)
	*l = append(*l, v)
	return err
}

// records are the records of a document.
type records []record

// UnmarshalXML implements xml.Unmarshaler. It is called for each record.
func (l *records) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	if len(*l) == maxRecords {
		return errTooMany
	}
	var r record
	err := d.DecodeElement(&r, &start)
	*l = append(*l, r)
	return err
}

// record returns the record of an element. ok is false if it lacks an address or a count.
func (e record) record() (r Record, ok bool) {
	source, errSource := netip.ParseAddr(strings.TrimSpace(e.Source))
	count, errCount := strconv.ParseInt(strings.TrimSpace(e.Count), 10, 64)
	if errSource != nil || errCount != nil || count < 1 || count > maxCount {
		return r, false
	}
	r = Record{
		Source: source.Unmap().WithZone(""), Count: count, Disposition: cmp.Or(word(e.Disposition), "none"),
		DKIM: passOrFail(e.DKIM), SPF: passOrFail(e.SPF), HeaderFrom: name(e.HeaderFrom), EnvelopeFrom: name(e.EnvelopeFrom),
	}
	for _, o := range e.Overrides {
		if kind := word(o.Type); kind != "" {
			r.Overrides = append(r.Overrides, kind)
		}
	}
	for _, s := range e.Results.DKIM {
		r.Signatures = append(r.Signatures, Signature{Domain: name(s.Domain), Selector: name(s.Selector), Result: word(s.Result)})
	}
	if len(e.Results.SPF) > 0 {
		r.Sender = SPFResult{Domain: name(e.Results.SPF[0].Domain), Result: word(e.Results.SPF[0].Result)}
	}
	return r, true
}

func passOrFail(text string) string {
	if word(text) == pass {
		return pass
	}
	return "fail"
}

// timeOf returns a time of a report. One before 1970 or far in the future is the zero time.
func timeOf(seconds int64) time.Time {
	const century = 100 * 365 * 24 * 60 * 60
	if seconds <= 0 || seconds > 2*century {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// word returns a word of the schema in lower case.
func word(text string) string { return strings.ToLower(clean(text)) }

// name returns a domain name in lower case without the dot at its end.
func name(text string) string { return strings.TrimSuffix(word(text), ".") }

// clean returns a text without control characters, in one line and of bounded length.
func clean(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || !unicode.IsPrint(c) }), " ")
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "")
}
