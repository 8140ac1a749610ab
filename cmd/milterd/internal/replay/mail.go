package replay

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"milterd/cmd/milterd/internal/mailbox"
	"milterd/cmd/milterd/internal/received"
	"milterd/cmd/milterd/internal/session"
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

	received.Facts                 // as the site of the configuration reads it
	Other          *received.Facts // as that of the configuration to compare with does; nil: the same
	Why            siteKeys        // what makes Other another one
}

// sites read mail: that of the configuration, then that of the one to compare with, if it is another.
type sites []received.Site

func (o Options) sites() sites {
	all := sites{o.Config.Site}
	if o.Against != nil && !reflect.DeepEqual(o.Against.Site, o.Config.Site) {
		all = append(all, o.Against.Site)
	}
	return all
}

// siteKeys are keys of the configuration that make a site.
type siteKeys uint8

// The keys.
const (
	hostname siteKeys = 1 << iota
	localDomains
	trustedNetworks
	allSiteKeys = 1<<iota - 1
)

// without is the site to compare with, if one key of it were as in the configuration.
func (by sites) without(key siteKeys) received.Site {
	s := by[1]
	switch key {
	case hostname:
		s.Hostname = by[0].Hostname
	case localDomains:
		s.Domains = by[0].Domains
	case trustedNetworks:
		s.Trusted = by[0].Trusted
	}
	return s
}

// read reads what the fields of a message tell.
func (by sites) read(fields []headers.Field, out *mail) {
	with := func(s received.Site) received.Facts {
		f := received.Read(fields, s)
		f.Known |= received.Content
		return f
	}
	out.Facts = with(by[0])
	if len(by) == 1 {
		return
	}
	other := with(by[1])
	if reflect.DeepEqual(other, out.Facts) {
		return
	}
	out.Other = &other
	for key := hostname; key < allSiteKeys; key <<= 1 {
		if s := by.without(key); !reflect.DeepEqual(s, by[1]) && !reflect.DeepEqual(with(s), other) {
			out.Why |= key
		}
	}
	if out.Why == 0 {
		out.Why = allSiteKeys // each of several would do
	}
}

// newMail reads a stored message.
func newMail(m mailbox.Message, by sites) *mail {
	out := &mail{File: m.File, Unit: m.Unit, Number: m.Number}
	if m.Err != nil {
		out.Fault = m.Err.Error()
		return out
	}
	if m.Decided != nil {
		out.Session, out.Facts = m.Decided.Session, logged(m.Decided)
		if c := out.Client; c.IsValid() && len(by) > 1 && by[0].Trusts(c) != by[1].Trusts(c) {
			out.Local = false // if it was trusted, it was for its network: the policies say whether it is
		}
		return out
	}
	fields := session.Header(m.Head)
	by.read(fields, out)
	for _, f := range fields {
		if f.Is("Message-ID") {
			out.ID = strings.Join(strings.Fields(f.Value), " ")
			break
		}
	}
	return out
}

// as is what is known of the message by the site of the configuration, or by the other one.
func (m *mail) as(other bool) *received.Facts {
	if other && m.Other != nil {
		return m.Other
	}
	return &m.Facts
}

// logged is what is known of an attempt by the log: all but the header section.
func logged(d *mailbox.Decided) received.Facts {
	f := received.Facts{
		Client: d.Client, ClientName: d.ClientName, Helo: d.Helo, From: d.From, To: d.To, Time: d.Time.UTC(), QueueID: d.QueueID,
		Local: d.Trusted || !d.Client.IsValid(),
	}
	if d.Client.IsValid() {
		f.Known |= received.Client | received.Helo // or it has said none
	}
	if d.HasTo || d.From != "" {
		f.Known |= received.Sender
	}
	if d.HasTo {
		f.Known |= received.Recipient
	}
	if !d.Time.IsZero() {
		f.Known |= received.Time
	}
	return f
}

// sentAt is the time in the field Date, if it can be read.
func sentAt(header []headers.Field) (time.Time, bool) {
	for _, f := range header {
		if f.Is("Date") {
			d, err := headers.ParseDate(f.Value)
			return d.Time, err == nil
		}
	}
	return time.Time{}, false
}

// key sorts messages: by time, those without one first, then by where they lie. What one site does not know the other one may.
func (m *mail) key() []byte {
	var seconds uint64
	facts := &m.Facts
	if facts.Known&received.Time == 0 {
		facts = m.as(true)
	}
	if facts.Known&received.Time != 0 {
		seconds = uint64(facts.Time.Unix()) ^ 1<<63 // so that times before 1970 sort before those after
	}
	k := binary.BigEndian.AppendUint64(nil, seconds)
	k = append(append(k, m.File...), 0)
	return binary.BigEndian.AppendUint64(k, uint64(m.Number))
}

// encode writes everything that decode reads. The format is that of one run: nobody else reads it.
func (m *mail) encode() []byte {
	var e encoder
	e.number(uint64(m.Number))
	e.text(m.File, m.Unit, m.ID, m.Session, m.Fault)
	e.facts(&m.Facts)
	e.header(m.Header)
	if m.Other == nil {
		e.bool(false)
		return e
	}
	e.bool(true)
	e.number(uint64(m.Why))
	e.facts(m.Other)
	own, shared := m.Other.Header, 0 // both end alike: the sites differ about what stands on top
	for shared < min(len(own), len(m.Header)) && own[len(own)-1-shared] == m.Header[len(m.Header)-1-shared] {
		shared++
	}
	e.number(uint64(shared))
	e.header(own[:len(own)-shared])
	return e
}

// encoder collects what encode writes.
type encoder []byte

func (e *encoder) number(n uint64) { *e = binary.AppendUvarint(*e, n) }

func (e *encoder) bool(b bool) {
	n := uint64(0)
	if b {
		n = 1
	}
	e.number(n)
}

func (e *encoder) text(list ...string) {
	for _, s := range list {
		e.number(uint64(len(s)))
		*e = append(*e, s...)
	}
}

// facts writes them without the header.
func (e *encoder) facts(f *received.Facts) {
	e.number(uint64(f.Known))
	e.bool(f.Local)
	e.number(uint64(f.Time.Unix()))
	client := ""
	if f.Client.IsValid() {
		client = string(f.Client.AsSlice())
	}
	e.text(client, f.ClientName, f.Helo, f.User, f.From, f.To, f.QueueID, f.By)
}

func (e *encoder) header(fields []headers.Field) {
	e.number(uint64(len(fields)))
	for _, f := range fields {
		e.text(f.Name, f.Value)
	}
}

// decode reads what encode has written. All texts share one piece of memory.
func decode(record []byte) *mail {
	c := cursor(record)
	m := &mail{Number: int(c.number())}
	for _, s := range []*string{&m.File, &m.Unit, &m.ID, &m.Session, &m.Fault} {
		*s = c.text()
	}
	c.facts(&m.Facts)
	m.Header = c.header()
	if c.number() == 1 {
		m.Why, m.Other = siteKeys(c.number()), &received.Facts{}
		c.facts(m.Other)
		shared := m.Header[len(m.Header)-int(c.number()):]
		m.Other.Header = shared
		if own := c.header(); len(own) > 0 {
			m.Other.Header = append(own, shared...)
		}
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

func (c *cursor) facts(f *received.Facts) {
	f.Known, f.Local = received.Known(c.number()), c.number() == 1
	if seconds := int64(c.number()); f.Known&received.Time != 0 {
		f.Time = time.Unix(seconds, 0).UTC()
	}
	client := ""
	for _, s := range []*string{&client, &f.ClientName, &f.Helo, &f.User, &f.From, &f.To, &f.QueueID, &f.By} {
		*s = c.text()
	}
	f.Client, _ = netip.AddrFromSlice([]byte(client)) // none is the zero one
}

func (c *cursor) header() []headers.Field {
	fields := make([]headers.Field, c.number())
	for i := range fields {
		fields[i] = headers.Field{Name: c.text(), Value: c.text()}
	}
	return fields
}
