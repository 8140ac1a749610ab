package msgfields

import (
	"strconv"
	"strings"
	"time"

	"milterd/checks"
	"milterd/headers"
)

// unknownZone is how far a date may be off if its zone is a name that RFC 5322 does not define. Such a date is read as UTC,
// and zones are at most 14 hours from it.
const unknownZone = 14 * time.Hour

// checkDates checks every Date field, as mail programs differ in which of several they show.
func (c *check) checkDates(f *findings, r *checks.Request) {
	found := false
	for _, field := range r.Envelope.Header {
		if field.Is("Date") {
			found = true
			c.checkDate(f, r, field)
		}
	}
	if !found {
		f.add(checks.Verdict{Reason: dateMissing})
	}
}

func (c *check) checkDate(f *findings, r *checks.Request, field headers.Field) {
	text := strings.TrimSpace(field.Value)
	date, err := headers.ParseDate(field.Value)
	if err != nil {
		f.add(checks.Verdict{Reason: dateInvalid, Detail: map[string]string{"date": text, "fault": cause(err)}})
		return
	}
	var tolerance time.Duration
	if date.UnknownZone {
		tolerance = unknownZone
	}
	now, clockInDoubt := r.Time, c.clock.Doubt(r.Time) != ""
	switch {
	case date.Time.After(now.Add(c.Future).Add(tolerance)):
		f.add(checks.Verdict{Reason: dateFuture, Unsure: clockInDoubt, Detail: map[string]string{
			"date": text, "ahead": duration(now, date.Time),
		}})
	case date.Time.Before(now.Add(-c.Past).Add(-tolerance)) && !c.resent(r.Envelope.Header, now):
		f.add(checks.Verdict{Reason: datePast, Unsure: clockInDoubt, Detail: map[string]string{
			"date": text, "age": duration(date.Time, now),
		}})
	}
}

// resent reports whether a Resent-Date field (RFC 5322 section 3.6.6) is within the limits. Resending does not change Date.
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

// duration returns the time between two dates in hours or days, as replies show it.
func duration(from, to time.Time) string {
	hours := (to.Unix() - from.Unix()) / 3600 // to.Sub(from) cannot be over 292 years
	switch {
	case hours < 1:
		return "less than an hour"
	case hours < 48:
		return strconv.FormatInt(hours, 10) + " h"
	default:
		return strconv.FormatInt(hours/24, 10) + " days"
	}
}
