package msgfields

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
	"milterd/headers"
)

// maxTransit is how long a message that was sent at once may take to reach a host. Servers retry for 4 to 5 days (RFC 5321
// section 4.5.4.1). Half would take a message after many retries for an old one; double would help only forgers.
const maxTransit = 5 * 24 * time.Hour

// checkDate checks the Date field.
func (c *check) checkDate(f *findings, r *checks.Request) {
	field, ok := headers.First(r.Envelope.Header, "Date")
	if !ok {
		f.add(checks.Verdict{Reason: dateMissing})
		return
	}
	text := strings.TrimSpace(field.Value)
	date, err := headers.ParseDate(field.Value)
	if fault := syntaxError(err); fault != nil {
		f.addFault(fault, dateInvalid, dateLax, "date", text)
		if !fault.Lax {
			return
		}
	}
	now, clockInDoubt := r.Time, c.clock.Doubt(r.Time) != ""
	switch {
	case date.Time.After(now.Add(c.Future).Add(date.Slack)):
		f.add(checks.Verdict{Reason: dateFuture, Unsure: clockInDoubt, Detail: map[string]string{
			"date": text, "ahead": duration(now, date.Time),
		}})
	case date.Time.Before(now.Add(-c.Past).Add(-date.Slack)) && !c.delayed(r.Envelope.Header, date, now):
		f.add(checks.Verdict{Reason: datePast, Unsure: clockInDoubt, Detail: map[string]string{
			"date": text, "age": duration(date.Time, now),
		}})
	}
}

// delayed reports whether the header section explains the age of a message: a Resent-Date field (RFC 5322 section 3.6.6) is
// within the limits, or a Received field shows that a host had the message soon after its Date or Resent-Date, such as one that
// a list's moderator held.
func (c *check) delayed(h []headers.Field, date headers.Date, now time.Time) bool {
	sent := []headers.Date{date}
	for _, field := range h {
		if !field.Is("Resent-Date") {
			continue
		}
		d, _ := headers.ParseDate(field.Value) // the zero time if there is no date, which is long ago
		if d.Time.After(now.Add(-c.Past-d.Slack)) && d.Time.Before(now.Add(c.Future+d.Slack)) {
			return true
		}
		if len(sent) == 1 && d.Time.After(date.Time) { // the topmost is the newest
			sent = append(sent, d)
		}
	}
	return slices.ContainsFunc(h, func(f headers.Field) bool { return f.Is("Received") && receivedSoon(f.Value, sent) })
}

// receivedSoon reports whether the time of a Received field, which follows its last semicolon (RFC 5322 section 3.6.7), is
// near one of dates.
func receivedSoon(value string, dates []headers.Date) bool {
	i := strings.LastIndexByte(value, ';')
	if i < 0 {
		return false
	}
	received, _ := headers.ParseDate(value[i+1:])
	return slices.ContainsFunc(dates, func(d headers.Date) bool {
		return received.Time.Sub(d.Time).Abs() <= maxTransit+received.Slack+d.Slack
	})
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
