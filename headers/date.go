package headers

import (
	"slices"
	"strings"
	"time"
)

// Date is the value of a Date field. The zero value is not a date.
type Date struct {
	// Time is the instant, in the zone of the field. A second 60 is the first second of the next minute, because Go has no
	// leap seconds.
	Time time.Time
	// Slack is how far Time may be off. It is over zero if the zone is missing or unknown, if the time of day is missing, if day and
	// month may be in either order, or if the name of the month is unknown or that of two months.
	Slack time.Duration
}

// Limits of the values in a date.
const (
	minYear = 1900 // RFC 5322 section 3.3
	maxYear = 9999 // not in the RFC; JSON and other formats end there

	// RFC 5322 section 3.3 permits zones up to 9959 in both directions. No place uses a zone outside these limits, and no
	// wanted message has one. The format is hhmm.
	minZone = -1200
	maxZone = 1400
)

// ParseDate parses the date-time of RFC 5322 section 3.3 or its obsolete form, section 4.3. It also checks the values: the
// day must exist, the weekday must be right if there is one, the time must be within 00:00:00 and 23:59:60, the year within
// 1900 and 9999, and the zone within -1200 and +1400. Names are case-insensitive. The zone is required; a zone in a comment
// does not count. The error is a *SyntaxError.
//
// It deviates from the grammar twice. An hour of one digit is accepted, because honest programs write it and its meaning is
// plain. A year and an hour with nothing between them ("200112:00") are refused, because the mistake "2001:12:00" would be
// read as the year 20.
//
// Every fault that leaves a date which a person can read is lax, and the Date is returned with it: no zone or an unknown
// one, a wrong weekday, the forms of asctime and ISO 8601, encoded-words, other names, orders and separators. A word with octets
// over 127 between day and year is the name of a month, perhaps of an unknown language, and so are question marks. Other text
// without day, month and year is no date, and an impossible value is never lax.
func ParseDate(value string) (Date, error) {
	p := dateParser{scanner: scanner{s: value}}
	t := p.dateTime()
	if p.fault == nil {
		return Date{Time: t}, nil
	}
	encoded := value[:min(len(value), maxEncodedDate)]
	text := DecodeWords(encoded) // some programs encode all of their fields
	date, fault := readDate(text)
	switch {
	case fault != nil:
		if text != encoded {
			fault.Pos = 0 // it was the position in the decoded text
		}
		return Date{}, fault
	case date.Time.IsZero():
		return Date{}, p.fault
	}
	p.fault.Lax = true
	return date, p.fault
}

type dateParser struct{ scanner }

// dateTime parses the whole value: [ day-of-week "," ] date time [CFWS].
func (p *dateParser) dateTime() time.Time {
	p.cfws()
	if p.peek() == end {
		p.fail(p.pos, "the date is empty")
		return time.Time{}
	}
	weekdayPos := p.pos
	weekday := p.weekday()
	year, month, day := p.calendarDate()
	p.cfws()
	if p.fault == nil && weekday >= 0 {
		if is := time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Weekday(); is != weekday {
			p.fail(weekdayPos, "weekday is wrong: %d %s %d is a %s", day, monthNames[month-1], year, is)
		}
	}
	hour, minute, second, before := p.timeOfDay()
	offset := p.zone(before)
	p.cfws()
	if p.peek() != end {
		p.fail(p.pos, "%s after the zone", quote(p.s[p.pos:]))
	}
	if p.fault != nil {
		return time.Time{}
	}
	return time.Date(year, month, day, hour, minute, second, 0, time.FixedZone("", offset))
}

var (
	weekdayNames = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}
	monthNames   = []string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}
)

// lookup returns the index of s in a list of names, or -1. It ignores case.
func lookup(names []string, s string) int {
	return slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, s) })
}

// weekday parses day-of-week and its comma. It returns -1 if there is none.
func (p *dateParser) weekday() time.Weekday {
	if c := p.peek(); c == end || !isLetter(byte(c)) {
		return -1
	}
	start := p.pos
	word := p.take(isLetter)
	weekday := lookup(weekdayNames, word)
	if weekday < 0 {
		p.fail(start, "%s is not Mon, Tue, Wed, Thu, Fri, Sat or Sun", quote(word))
	}
	p.cfws()
	p.expect(',', "the comma after the weekday")
	p.cfws()
	return time.Weekday(weekday)
}

// calendarDate parses day, month and year.
func (p *dateParser) calendarDate() (year int, month time.Month, day int) {
	dayPos := p.pos
	day = p.number("day", 1)
	p.cfws()
	month = p.month()
	p.cfws()
	year = p.year()
	if p.fault != nil {
		return 0, 0, 0
	}
	if last := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day(); day < 1 || day > last {
		p.fail(dayPos, "%s %d has no day %d", monthNames[month-1], year, day)
	}
	return year, month, day
}

func (p *dateParser) month() time.Month {
	start := p.pos
	word := p.take(isLetter)
	if word == "" {
		p.unexpected("the month's name")
		return 0
	}
	month := lookup(monthNames, word)
	if month < 0 {
		p.fail(start, "%s is not a month's name (Jan to Dec)", quote(word))
	}
	return time.Month(month + 1)
}

// year parses the year and returns it with four digits.
func (p *dateParser) year() int {
	start := p.pos
	digits := p.take(isDigit)
	if digits == "" {
		p.unexpected("the year")
		return 0
	}
	return p.fullYear(start, digits)
}

// fullYear returns the year of digits at start, with four digits.
func (p *scanner) fullYear(start int, digits string) int {
	year := atoi(digits)
	switch {
	case len(digits) == 1:
		p.fail(start, "year %s has one digit; it must have four", digits)
	// RFC 5322 section 4.3: 00 to 49 are 2000 to 2049; other years of two and all years of three digits count from 1900.
	case len(digits) == 2 && year <= 49:
		year += 2000
	case len(digits) <= 3:
		year += 1900
	case year < minYear:
		p.fail(start, "year %s is under %d", short(digits), minYear)
	case year > maxYear:
		p.fail(start, "year %s is over %d", short(digits), maxYear)
	}
	return year
}

// timeOfDay parses hour, minute and second, and the gap before the zone.
func (p *dateParser) timeOfDay() (hour, minute, second int, before gap) {
	hour = p.bounded("hour", 1, 23)
	p.cfws()
	p.expect(':', "the colon after the hour")
	p.cfws()
	minute = p.bounded("minute", 2, 59)
	before = p.cfws()
	if p.peek() != ':' {
		return hour, minute, 0, before
	}
	p.pos++
	p.cfws()
	second = p.bounded("second", 2, 60) // RFC 5322 section 3.3: 60 is a leap second
	return hour, minute, second, p.cfws()
}

// bounded parses a number as number does, which may be at most limit.
func (p *dateParser) bounded(what string, minDigits, limit int) int {
	start := p.pos
	n := p.number(what, minDigits)
	if n > limit {
		p.fail(start, "%s %d is over %d", what, n, limit)
	}
	return n
}

// number parses a number of minDigits to two digits. what is a noun.
func (p *dateParser) number(what string, minDigits int) int {
	start := p.pos
	digits := p.take(isDigit)
	switch {
	case digits == "":
		p.unexpected("the " + what)
	case len(digits) < minDigits:
		p.fail(start, "the %s has %d digit; it must have %d", what, len(digits), minDigits)
	case len(digits) > 2:
		p.fail(start, "the %s has %d digits; it must have at most 2", what, len(digits))
	}
	return atoi(digits)
}

// zone parses the zone and returns its offset from UTC in seconds. before is the gap in front of it.
func (p *dateParser) zone(before gap) int {
	c := p.peek()
	switch {
	case c == '+' || c == '-':
		if before == 0 { // RFC 5322 sections 3.3 and 4.3 both require white space
			p.fail(p.pos, "no space before the zone")
			return 0
		}
		return p.zoneOffset()
	case c != end && isLetter(byte(c)):
		return p.zoneName()
	case c == end && before&gapComment != 0:
		p.fail(p.pos, "the zone is missing; a comment does not count")
	default:
		p.unexpected("the zone")
	}
	return 0
}

// zoneOffset parses a sign and four digits.
func (p *dateParser) zoneOffset() int {
	start := p.pos
	p.pos++
	digits := p.take(isDigit)
	if len(digits) != 4 {
		p.fail(start, "zone %s does not have four digits", short(p.s[start:p.pos]))
		return 0
	}
	n := atoi(digits)
	return p.utcOffset(start, p.s[start:p.pos], n/100, n%100)
}

// utcOffset returns the offset of a zone from UTC in seconds. text is the zone at start, with its sign.
func (p *scanner) utcOffset(start int, text string, hours, minutes int) int {
	n, seconds := hours*100+minutes, hours*3600+minutes*60
	if text[0] == '-' {
		n, seconds = -n, -seconds
	}
	switch {
	case n < minZone:
		p.fail(start, "zone %s is before %d", text, minZone)
	case n > maxZone:
		p.fail(start, "zone %s is after +%d", text, maxZone)
	case minutes > 59:
		p.fail(start, "zone %s has more than 59 minutes", text)
	}
	return seconds
}

// zoneName parses a zone that is a name, RFC 5322 section 4.3, and returns its offset from UTC in seconds.
func (p *dateParser) zoneName() int {
	start := p.pos
	name := p.take(isLetter)
	offset, ok := namedZone(name)
	if !ok {
		p.fail(start, "%s is not a zone", quote(name))
	}
	return offset
}

// namedZone returns the offset from UTC in seconds of a zone that RFC 5322 section 4.3 names.
func namedZone(name string) (offset int, ok bool) {
	switch strings.ToUpper(name) {
	case "UT", "GMT", "UTC":
		return 0, true
	case "EDT":
		return -4 * 3600, true
	case "EST", "CDT":
		return -5 * 3600, true
	case "CST", "MDT":
		return -6 * 3600, true
	case "MST", "PDT":
		return -7 * 3600, true
	case "PST":
		return -8 * 3600, true
	}
	// A military zone: RFC 822 defined them with the wrong sign, so section 4.3 reads them as -0000.
	return 0, len(name) == 1 && !strings.EqualFold(name, "J")
}

// atoi converts a run of digits of any length. It stops above maxYear, so it cannot overflow.
func atoi(digits string) int {
	n := 0
	for i := 0; i < len(digits) && n <= maxYear; i++ {
		n = n*10 + int(digits[i]-'0')
	}
	return n
}
