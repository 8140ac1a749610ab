package replay

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"milterd/cmd/milterd/internal/archive"
	"milterd/cmd/milterd/internal/dialogue"
	"milterd/cmd/milterd/internal/trace"
	"milterd/headers"
)

// mail is a stored message with the session in which it came, or what a log tells of one.
type mail struct {
	File    string
	Unit    string // what Number counts
	Number  int
	ID      string // Message-ID as it stands in the field, if there is one
	Session string // in the log; empty if it is from an archive of mail
	Fault   string // why it could not be read; then nothing else is known
	trace.Facts
}

// newMail reads a stored message.
func newMail(m archive.Message, site trace.Site) *mail {
	out := &mail{File: m.File, Unit: m.Unit, Number: m.Number}
	if m.Err != nil {
		out.Fault = m.Err.Error()
		return out
	}
	if m.Decided != nil {
		out.Session, out.Facts = m.Decided.Session, logged(m.Decided)
		return out
	}
	fields := dialogue.Header(m.Head)
	out.Facts = trace.Read(fields, site)
	out.Known |= trace.Content
	for _, f := range fields {
		if f.Is("Message-ID") {
			out.ID = strings.Join(strings.Fields(f.Value), " ")
			break
		}
	}
	return out
}

// logged is what is known of an attempt by the log: all but the header section.
func logged(d *archive.Decided) trace.Facts {
	f := trace.Facts{
		Client: d.Client, ClientName: d.ClientName, Helo: d.Helo, From: d.From, To: d.To, Time: d.Time.UTC(), QueueID: d.QueueID,
		Local: d.Trusted || !d.Client.IsValid(),
	}
	if d.Client.IsValid() {
		f.Known |= trace.Client | trace.Helo // or it has said none
	}
	if d.HasTo || d.From != "" {
		f.Known |= trace.Sender
	}
	if d.HasTo {
		f.Known |= trace.Recipient
	}
	if !d.Time.IsZero() {
		f.Known |= trace.Time
	}
	return f
}

// sentAt is the time in the field Date, if it can be read.
func (m *mail) sentAt() (time.Time, bool) {
	for _, f := range m.Header {
		if f.Is("Date") {
			d, err := headers.ParseDate(f.Value)
			return d.Time, err == nil
		}
	}
	return time.Time{}, false
}

// key sorts messages: by time, those without one first, then by where they lie.
func (m *mail) key() []byte {
	var seconds uint64
	if m.Known&trace.Time != 0 {
		seconds = uint64(m.Time.Unix()) ^ 1<<63 // so that times before 1970 sort before those after
	}
	k := binary.BigEndian.AppendUint64(nil, seconds)
	k = append(append(k, m.File...), 0)
	return binary.BigEndian.AppendUint64(k, uint64(m.Number))
}

// encode writes everything that decode reads. The format is that of one run: nobody else reads it.
func (m *mail) encode() []byte {
	var b []byte
	text := func(list ...string) {
		for _, s := range list {
			b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
		}
	}
	local := uint64(0)
	if m.Local {
		local = 1
	}
	for _, n := range []uint64{uint64(m.Number), uint64(m.Known), local, uint64(m.Time.Unix()), uint64(len(m.Header))} {
		b = binary.AppendUvarint(b, n)
	}
	client := ""
	if m.Client.IsValid() {
		client = string(m.Client.AsSlice())
	}
	text(m.File, m.Unit, m.ID, m.Session, m.Fault, client, m.ClientName, m.Helo, m.User, m.From, m.To, m.QueueID, m.By)
	for _, f := range m.Header {
		text(f.Name, f.Value)
	}
	return b
}

// decode reads what encode has written. All texts share one piece of memory.
func decode(record []byte) *mail {
	c := cursor(record)
	m := &mail{}
	m.Number, m.Known, m.Local = int(c.number()), trace.Known(c.number()), c.number() == 1
	seconds := int64(c.number())
	if m.Known&trace.Time != 0 {
		m.Time = time.Unix(seconds, 0).UTC()
	}
	fields := c.number()
	client := ""
	for _, s := range []*string{&m.File, &m.Unit, &m.ID, &m.Session, &m.Fault, &client, &m.ClientName, &m.Helo, &m.User, &m.From, &m.To, &m.QueueID, &m.By} {
		*s = c.text()
	}
	m.Client, _ = netip.AddrFromSlice([]byte(client)) // none is the zero one
	m.Header = make([]headers.Field, fields)
	for i := range m.Header {
		m.Header[i] = headers.Field{Name: c.text(), Value: c.text()}
	}
	return m
}

// cursor reads an encoded mail.
type cursor string

func (c *cursor) number() uint64 {
	var n uint64
	for shift := 0; ; shift += 7 {
		octet := (*c)[0]
		*c = (*c)[1:]
		n |= uint64(octet&0x7f) << shift
		if octet < 0x80 {
			return n
		}
	}
}

func (c *cursor) text() string {
	n := c.number()
	s := (*c)[:n]
	*c = (*c)[n:]
	return string(s)
}
