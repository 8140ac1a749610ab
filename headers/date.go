package headers

import (
	"strings"
	"time"
)

// Date is the value of a Date field. The zero value is no date.
type Date struct {
	// Time is the instant, in the zone that was written. A second 60 is the first of the next minute, as Go has no leap
	// seconds.
	Time time.Time
	// Obsolete tells that only RFC 5322 section 4.3 permits the form: a year of two or three digits, a zone by name,
	// comments before the zone, white space in odd places or none where it belongs.
	Obsolete bool
	// OneDigitHour tells that the hour has one digit. Neither grammar permits it, but honest programs write it, and its
	// meaning is plain, so it is no error.
	OneDigitHour bool
	// UnknownZone tells that the zone is a name RFC 5322 does not define, such as "CEST". Section 4.3 wants it read as
	// -0000, so Time may be off by up to 14 hours.
	UnknownZone bool
}

// Bounds of values in a date.
const (
	minYear = 1900 // RFC 5322 section 3.3
	maxYear = 9999 // not in the RFC; formats such as JSON's know no more

	// Bounds of the zone, as hhmm. RFC 5322 section 3.3 would take up to 9959 both ways, but no place on earth is
	// outside these, and no wanted message ever was.
	minZone = -1200
	maxZone = 1400
)

// ParseDate parses the date-time of RFC 5322 section 3.3 or its obsolete form of section 4.3. Values are checked too: the
// day must exist, the weekday if any must fit it, the time must be within 00:00:00 and 23:59:60, the year within 1900 and
// 9999, and the zone within -1200 and +1400. Names are case-insensitive. A date without a zone is refused, also if a
// comment gives one. The error is a *SyntaxError, never Lax.
//
// One thing ABNF would permit is refused: a year and an hour without anything between ("200112:00"), because that also
// reads the blunder "2001:12:00" as the year 20.
func ParseDate(value string) (Date, error) {
	p := dateParser{scanner: scanner{s: value}}
	p.dateTime()
	if p.fault != nil {
		return Date{}, p.fault
	}
	return p.date, nil
}

type dateParser struct {
	scanner
	date Date
}

// How much white space section 3.3 has between two tokens; anything else is obsolete.
type spacing uint8

const (
	spaceNone spacing = iota
	spaceMay
	spaceMust
)

// gap takes white space and comments, and notes whether only the obsolete grammar permits them.
func (p *dateParser) gap(modern spacing) {
	p.judgeGap(p.cfws(), modern)
}

func (p *dateParser) judgeGap(g gap, modern spacing) {
	if g&^gapSpace != 0 || g != 0 && modern == spaceNone || g == 0 && modern == spaceMust {
		p.date.Obsolete = true
	}
}

// dateTime takes the whole value: [ day-of-week "," ] date time [CFWS].
func (p *dateParser) dateTime() {
	p.gap(spaceMay)
	if p.peek() == end {
		p.fail(p.pos, "the date is empty")
		return
	}
	weekdayPos := p.pos
	weekday := p.weekday()
	year, month, day := p.calendarDate()
	p.gap(spaceMust)
	if p.fault == nil && weekday >= 0 {
		if is := time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Weekday(); is != weekday {
			p.fail(weekdayPos, "weekday is wrong: %d %s %d is a %s", day, name(monthNames, int(month)-1), year, is)
		}
	}
	hour, minute, second, before := p.timeOfDay()
	offset := p.zone(before)
	// A comment after the zone is in the modern grammar.
	if p.cfws()&gapObsolete != 0 {
		p.date.Obsolete = true
	}
	if p.peek() != end {
		p.fail(p.pos, "%s after the zone", quote(p.s[p.pos:]))
	}
	if p.fault == nil {
		p.date.Time = time.Date(year, month, day, hour, minute, second, 0, location(offset))
	}
}

// Names in order, three letters each.
const (
	weekdayNames = "SunMonTueWedThuFriSat"
	monthNames   = "JanFebMarAprMayJunJulAugSepOctNovDec"
)

// name returns the i-th name of a list, counted from 0.
func name(names string, i int) string { return names[3*i : 3*i+3] }

// lookup returns the place of s in a list of names, or -1.
func lookup(names, s string) int {
	for i := range len(names) / 3 {
		if strings.EqualFold(name(names, i), s) {
			return i
		}
	}
	return -1
}

// weekday takes day-of-week and its comma, or returns -1 if there is none.
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
	p.gap(spaceNone)
	p.expect(',', "the comma after the weekday")
	p.gap(spaceMay)
	return time.Weekday(weekday)
}

// calendarDate takes day, month and year.
func (p *dateParser) calendarDate() (year int, month time.Month, day int) {
	dayPos := p.pos
	day = p.number("day", 1, 2)
	p.gap(spaceMust)
	month = p.month()
	p.gap(spaceMust)
	year = p.year()
	if p.fault != nil {
		return 0, 0, 0
	}
	if last := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day(); day < 1 || day > last {
		p.fail(dayPos, "%s %d has no day %d", name(monthNames, int(month)-1), year, day)
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

// year takes the year and gives it four digits.
func (p *dateParser) year() int {
	start := p.pos
	digits := p.take(isDigit)
	year := atoi(digits)
	switch {
	case digits == "":
		p.unexpected("the year")
	case len(digits) == 1:
		p.fail(start, "year %s has one digit, four are right", digits)
	// RFC 5322 section 4.3: two digits up to 49 are of this century, other two and all three digits count from 1900.
	case len(digits) == 2 && year <= 49:
		year += 2000
		p.date.Obsolete = true
	case len(digits) <= 3:
		year += 1900
		p.date.Obsolete = true
	case year < minYear:
		p.fail(start, "year %s is under %d", short(digits), minYear)
	case year > maxYear:
		p.fail(start, "year %s is over %d", short(digits), maxYear)
	}
	return year
}

// timeOfDay takes hour, minute and second, and the gap before the zone, which it returns.
func (p *dateParser) timeOfDay() (hour, minute, second int, before gap) {
	start := p.pos
	hour = p.bounded("hour", 1, 23)
	p.date.OneDigitHour = p.pos-start == 1
	p.gap(spaceNone)
	p.expect(':', "the colon after the hour")
	p.gap(spaceNone)
	minute = p.bounded("minute", 2, 59)
	before = p.cfws()
	if p.peek() != ':' {
		return hour, minute, 0, before
	}
	p.judgeGap(before, spaceNone)
	p.pos++
	p.gap(spaceNone)
	// RFC 5322 section 3.3: up to 60, for leap seconds.
	second = p.bounded("second", 2, 60)
	return hour, minute, second, p.cfws()
}

// bounded takes a number of minDigits to two digits that is at most limit.
func (p *dateParser) bounded(what string, minDigits, limit int) int {
	start := p.pos
	n := p.number(what, minDigits, 2)
	if n > limit {
		p.fail(start, "%s %d is over %d", what, n, limit)
	}
	return n
}

// number takes a number of minDigits to maxDigits digits; what is a noun.
func (p *dateParser) number(what string, minDigits, maxDigits int) int {
	start := p.pos
	digits := p.take(isDigit)
	switch {
	case digits == "":
		p.unexpected("the " + what)
	case len(digits) < minDigits:
		p.fail(start, "the %s has %d digit, %d are right", what, len(digits), minDigits)
	case len(digits) > maxDigits:
		p.fail(start, "the %s has %d digits, %d is the most", what, len(digits), maxDigits)
	}
	return atoi(digits)
}

// zone takes the zone and returns its offset from UTC in seconds. before is what stood in front of it.
func (p *dateParser) zone(before gap) int {
	c := p.peek()
	switch {
	case c == '+' || c == '-':
		if before == 0 {
			// RFC 5322 sections 3.3 and 4.3 agree on this one.
			p.fail(p.pos, "no space before the zone")
			return 0
		}
		p.judgeGap(before, spaceMust)
		return p.zoneOffset()
	case c != end && isLetter(byte(c)):
		p.date.Obsolete = true
		return p.zoneName()
	case c == end && before&gapComment != 0:
		p.fail(p.pos, "the zone is missing; a comment does not count")
	default:
		p.unexpected("the zone")
	}
	return 0
}

// zoneOffset takes a sign and four digits.
func (p *dateParser) zoneOffset() int {
	start := p.pos
	p.pos++
	digits := p.take(isDigit)
	if len(digits) != 4 {
		p.fail(start, "zone %s does not have four digits", short(p.s[start:p.pos]))
		return 0
	}
	text, n := p.s[start:p.pos], atoi(digits)
	seconds := n/100*3600 + n%100*60
	if p.s[start] == '-' {
		n, seconds = -n, -seconds
	}
	switch {
	case n < minZone:
		p.fail(start, "zone %s is before %d", text, minZone)
	case n > maxZone:
		p.fail(start, "zone %s is after +%d", text, maxZone)
	case seconds/60%60 != n%100:
		p.fail(start, "zone %s has more than 59 minutes", text)
	}
	return seconds
}

// zoneName takes a zone written as a name, RFC 5322 section 4.3.
func (p *dateParser) zoneName() int {
	start := p.pos
	name := p.take(isLetter)
	// Hours from UTC. Of the military letters only Z can be trusted; the RFC wants all of them read as -0000.
	switch {
	case strings.EqualFold(name, "UT"), strings.EqualFold(name, "GMT"), strings.EqualFold(name, "UTC"):
		return 0
	case strings.EqualFold(name, "EDT"):
		return -4 * 3600
	case strings.EqualFold(name, "EST"), strings.EqualFold(name, "CDT"):
		return -5 * 3600
	case strings.EqualFold(name, "CST"), strings.EqualFold(name, "MDT"):
		return -6 * 3600
	case strings.EqualFold(name, "MST"), strings.EqualFold(name, "PDT"):
		return -7 * 3600
	case strings.EqualFold(name, "PST"):
		return -8 * 3600
	case len(name) == 1 && !strings.EqualFold(name, "J"):
		return 0
	case 3 <= len(name) && len(name) <= 5:
		// RFC 5322 section 4.3: other names "usually between 3 and 5" letters are to be read as -0000.
		p.date.UnknownZone = true
		return 0
	}
	p.fail(start, "%s is not a zone", quote(name))
	return 0
}

// location is the zone of a Time. time.FixedZone keeps those of whole hours, so they cost no allocation.
func location(offset int) *time.Location {
	if offset == 0 {
		return time.UTC
	}
	return time.FixedZone("", offset)
}

// atoi converts a run of digits. It stops counting above any value in use, so a long run cannot overflow.
func atoi(digits string) int {
	n := 0
	for i := 0; i < len(digits) && n <= maxYear; i++ {
		n = n*10 + int(digits[i]-'0')
	}
	return n
}
