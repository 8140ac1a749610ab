// Package msgfields asks whether the header section keeps to RFC 5322: its dates, identifiers, authors, and the form of its
// fields.
package msgfields

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
	"milterd/headers"
)

// Settings configure the check.
type Settings struct {
	Future time.Duration `yaml:"future" doc:"How far the Date field may be ahead of the arrival; under 1h, clocks that are a little wrong are refused."`
	Past   time.Duration `yaml:"past" doc:"How far the Date field may be before the arrival; senders retry for up to 5d, and moderated lists hold mail for longer."`
}

// Validate refuses limits that no message could keep.
func (c Settings) Validate() error {
	var faults []error
	for _, limit := range []struct {
		key string
		time.Duration
	}{{"future", c.Future}, {"past", c.Past}} {
		if limit.Duration <= 0 {
			faults = append(faults, fmt.Errorf("%s must be over 0; to switch it off, set the action of date-%s to off", limit.key, limit.key))
		}
	}
	return errors.Join(faults...)
}

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "msgfields",
	Doc: "Looks at the header section of the message: whether the fields that every message has are there, once, and well " +
		"formed, and whether the date is plausible. While the mail speaks against the clock of this host, a date is refused for now " +
		"only, or not at all.",
	Stages: []checks.Stage{checks.EndOfHeader},
	Reasons: []*checks.Reason{
		dateMissing, dateInvalid, dateFuture, datePast, msgidMissing, msgidInvalid, fromMissing, fromInvalid,
		fieldDuplicate, fieldTooLong, field8bit, fieldSyntax,
	},
}, Settings{Future: 24 * time.Hour, Past: 30 * 24 * time.Hour}, func(c Settings, env checks.Env) (checks.Check, error) {
	return &check{c, env.Clock}, nil
})

type check struct {
	Settings
	clock *checks.Clock
}

// Check implements checks.Check.
func (c *check) Check(_ context.Context, s *checks.Request) ([]checks.Verdict, error) {
	h := s.Envelope.Header
	var f findings
	c.dates(&f, s)
	messageIDs(&f, h)
	authors(&f, h)
	duplicates(&f, h)
	for _, field := range h {
		lines(&f, field)
	}
	return f.verdicts(), nil
}

// findings are the verdicts found, at most one for each reason: the first.
type findings []checks.Verdict

func (f *findings) add(r *checks.Reason, detail map[string]string) {
	f.addVerdict(checks.Verdict{Reason: r, Detail: detail})
}

func (f *findings) addVerdict(v checks.Verdict) {
	if !f.has(v.Reason) {
		*f = append(*f, v)
	}
}

func (f *findings) has(r *checks.Reason) bool {
	for _, v := range *f {
		if v.Reason == r {
			return true
		}
	}
	return false
}

// verdicts returns what was found in the order of the reasons.
func (f *findings) verdicts() []checks.Verdict {
	if len(*f) == 0 {
		return nil
	}
	out := make([]checks.Verdict, 0, len(*f))
	for _, r := range Info.Reasons {
		for _, v := range *f {
			if v.Reason == r {
				out = append(out, v)
			}
		}
	}
	return out
}

// unknownZone is how far a date can be off whose zone has a name that RFC 5322 does not define, and is read as UTC.
const unknownZone = 14 * time.Hour

// dates judges every Date field: which of several a reader will see, nobody knows.
func (c *check) dates(f *findings, s *checks.Request) {
	now := s.Time
	dates := 0
	for _, field := range s.Envelope.Header {
		if !field.Is("Date") {
			continue
		}
		dates++
		text := strings.TrimSpace(field.Value)
		date, err := headers.ParseDate(field.Value)
		if err != nil {
			f.add(dateInvalid, map[string]string{"date": text, "fault": cause(err)})
			continue
		}
		var doubt time.Duration
		if date.UnknownZone {
			doubt = unknownZone
		}
		switch {
		case date.Time.After(now.Add(c.Future).Add(doubt)):
			c.implausible(f, s, dateFuture, map[string]string{"date": text, "ahead": span(now, date.Time)})
		case date.Time.Before(now.Add(-c.Past).Add(-doubt)) && !c.resent(s.Envelope.Header, now):
			c.implausible(f, s, datePast, map[string]string{"date": text, "age": span(date.Time, now)})
		}
	}
	if dates == 0 {
		f.add(dateMissing, nil)
	}
}

// implausible adds a verdict that rests on the time of day.
func (c *check) implausible(f *findings, r *checks.Request, reason *checks.Reason, detail map[string]string) {
	f.addVerdict(checks.Verdict{Reason: reason, Detail: detail, Unsure: c.clock.Doubt(r.Time) != ""})
}

// resent tells whether somebody sent the message anew within the limits (RFC 5322 section 3.6.6): its Date keeps telling
// when it was written.
func (c *check) resent(h []headers.Field, now time.Time) bool {
	for _, field := range h {
		if !field.Is("Resent-Date") {
			continue
		}
		d, err := headers.ParseDate(field.Value)
		if err == nil && d.Time.After(now.Add(-c.Past)) && d.Time.Before(now.Add(c.Future)) {
			return true
		}
	}
	return false
}

// span tells a length of time in hours or days, as people do.
func span(from, to time.Time) string {
	hours := (to.Unix() - from.Unix()) / 3600 // a Duration ends at 292 years
	switch {
	case hours < 1:
		return "less than an hour"
	case hours < 48:
		return strconv.FormatInt(hours, 10) + " h"
	default:
		return strconv.FormatInt(hours/24, 10) + " days"
	}
}

// cause is what is wrong with a value.
func cause(err error) string {
	if fault, ok := errors.AsType[*headers.SyntaxError](err); ok {
		return fault.Cause
	}
	return err.Error()
}
