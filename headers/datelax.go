package headers

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// maxLaxDate is the number of bytes that readDate looks at. Half would still hold every form with a long zone name.
const maxLaxDate = 256

// maxEncodedDate is the number of bytes in which encoded-words are decoded: three for each byte of maxLaxDate, and the marks of the
// words. A hostile field has 1 MiB.
const maxEncodedDate = 4 * maxLaxDate

// How far a date may be off.
const (
	noZoneSlack = 14 * time.Hour // zone unknown: no place is farther from UTC
	noTimeSlack = 12 * time.Hour // no time of day: noon is assumed
	hour24Slack = 24 * time.Hour // hour 24: the beginning of the day is assumed

	twoMonthsSlack = 31 * 24 * time.Hour  // name of two months that follow each other
	noMonthSlack   = 184 * 24 * time.Hour // month unknown: July is assumed
)

// readDate reads a date as a person does: in any order and with any separators. It returns the zero Date if there is no date
// in the text, and a fault if there is one with an impossible value.
func readDate(value string) (Date, *SyntaxError) {
	r := dateReader{tokens: dateTokens(value[:min(len(value), maxLaxDate)])}
	r.timeOfDay()
	r.zone()
	r.calendarDate()
	if r.fault != nil || r.year == 0 {
		return Date{}, r.fault
	}
	date := Date{Time: time.Date(r.year, r.month, r.day, r.hour, r.minute, r.second, 0, time.FixedZone("", r.offset)), Slack: r.slack}
	if r.afterTime == 0 {
		date.Time, date.Slack = date.Time.Add(noTimeSlack), date.Slack+noTimeSlack
	}
	if !r.hasZone {
		date.Slack += noZoneSlack
	}
	return date, nil
}

// token is a run of digits, a run of letters or one other octet of a date. A run of white space and comments is one space.
type token struct {
	text string
	pos  int
}

func (t token) isNumber() bool { return isDigit(t.text[0]) }
func (t token) isWord() bool   { return isWordByte(t.text[0]) }

// isWordByte reports whether c may be in the name of a month, in any language and encoding.
func isWordByte(c byte) bool { return isLetter(c) || c >= utf8.RuneSelf }

// dateTokens splits a text. A comment without an end takes the rest of it.
func dateTokens(s string) []token {
	var list []token
	p := scanner{s: s}
	for p.pos < len(s) {
		start := p.pos
		switch c := s[p.pos]; {
		case isDigit(c):
			p.take(isDigit)
		case isWordByte(c):
			p.take(isWordByte)
		case c <= ' ' || c == '(':
			if c == '(' {
				p.comment()
			} else {
				p.pos++
			}
			if n := len(list); n == 0 || list[n-1].text != " " {
				list = append(list, token{text: " ", pos: start})
			}
			continue
		default:
			p.pos++
		}
		list = append(list, token{text: s[start:p.pos], pos: start})
	}
	return list
}

// dateReader finds the parts of a date among its tokens. It replaces a token that it has used by a space. The fault of the scanner is
// the first impossible value.
type dateReader struct {
	scanner
	tokens               []token
	afterTime            int // index of the token after the time of day; 0 if there is none
	hour, minute, second int
	hasZone              bool
	offset               int // of the zone, in seconds
	year, day            int
	month                time.Month
	slack                time.Duration
}

// at returns token i, or a space if there is none.
func (r *dateReader) at(i int) token {
	if i < 0 || i >= len(r.tokens) {
		return token{text: " "}
	}
	return r.tokens[i]
}

// use replaces n tokens from i on by spaces, so that the other tokens keep their indices.
func (r *dateReader) use(i, n int) {
	for ; n > 0 && i < len(r.tokens); i, n = i+1, n-1 {
		r.tokens[i].text = " "
	}
}

// timeOfDay finds the hour, a colon and the minute, then perhaps a colon and the second with a fraction, and AM or PM.
func (r *dateReader) timeOfDay() {
	i := 0
	for !r.isClock(i) {
		if i++; i >= len(r.tokens) {
			return
		}
	}
	if r.at(i).text == "24" {
		r.slack += hour24Slack // Java's pattern kk writes the hour after midnight so, ISO 8601 the end of the day
	} else {
		r.hour = r.bounded(i, "hour", 23)
	}
	r.minute = r.bounded(i+2, "minute", 59)
	next := i + 3
	if r.at(next).text == ":" && r.at(next+1).isNumber() {
		r.second = r.bounded(next+1, "second", 60)
		next += 2
		if c := r.at(next).text; (c == "." || c == ",") && r.at(next+1).isNumber() {
			next += 2
		}
	}
	r.use(i, next-i)
	for r.at(next).text == " " && next < len(r.tokens) {
		next++
	}
	switch word := strings.ToUpper(r.at(next).text); {
	case word == "PM" && r.hour < 12:
		r.hour += 12
		r.use(next, 1)
	case word == "AM" && r.hour == 12:
		r.hour = 0
		r.use(next, 1)
	}
	r.afterTime = next
}

// isClock reports whether an hour, a colon and a minute begin at token i.
func (r *dateReader) isClock(i int) bool {
	return r.at(i).isNumber() && len(r.at(i).text) <= 3 && r.at(i-1).text != ":" &&
		r.at(i+1).text == ":" && r.at(i+2).isNumber() && len(r.at(i+2).text) <= 2
}

// bounded returns the number of token i, which may be at most limit.
func (r *dateReader) bounded(i int, what string, limit int) int {
	n := atoi(r.at(i).text)
	if n > limit {
		r.fail(r.at(i).pos, "%s %s is over %d", what, short(r.at(i).text), limit)
	}
	return n
}

// zone finds the zone after the time of day: a sign and one to four digits, perhaps with a colon, or a name of RFC 5322
// section 4.3. Other names, also with digits in them, are skipped: nobody knows all of them.
func (r *dateReader) zone() {
	if r.afterTime == 0 {
		return
	}
	dateFollows := !slices.ContainsFunc(r.tokens[:r.afterTime], token.isNumber)
	for i := r.afterTime; i < len(r.tokens); i++ {
		switch t, before := r.at(i), r.at(i-1); {
		case dateFollows && (before.isNumber() || monthOf(before.text) > 0): // 30-Nov-2026
		case (t.text == "+" || t.text == "-") && r.at(i+1).isNumber() && !r.hasZone:
			r.numericZone(i)
		case t.isWord() && r.at(i+1).isNumber(): // EST5EDT
			r.use(i, 3)
		case t.isWord() && !r.hasZone && !r.signFollows(i):
			r.offset, r.hasZone = namedZone(t.text)
		}
	}
}

// signFollows reports whether a zone with a sign follows the word at i directly, as in GMT+1.
func (r *dateReader) signFollows(i int) bool {
	c := r.at(i + 1).text
	return (c == "+" || c == "-") && r.at(i+2).isNumber()
}

// numericZone reads the zone whose sign is token i. A number of more than four digits is no zone.
func (r *dateReader) numericZone(i int) {
	sign, digits := r.at(i), r.at(i+1).text
	hours, minutes, n := atoi(digits), 0, 2
	switch {
	case len(digits) > 4:
		r.use(i, n)
		return
	case len(digits) > 2:
		hours, minutes = hours/100, hours%100
	case r.at(i+2).text == ":" && r.at(i+3).isNumber():
		minutes, n = atoi(r.at(i+3).text), 4
	}
	r.offset, r.hasZone = r.utcOffset(sign.pos, sign.text+digits, hours, minutes), true
	r.use(i, n)
}

// calendarDate finds day, month and year among the tokens that are left. The year stays 0 if there is no date.
func (r *dateReader) calendarDate() {
	var numbers []token
	for _, t := range r.tokens {
		if t.isNumber() {
			numbers = append(numbers, t)
		}
	}
	if month, slack := r.monthName(); month > 0 && !r.isNumeric() {
		r.withName(month, numbers)
		r.slack += slack
		return
	}
	if r.withoutName(numbers); r.year == 0 && r.hasOtherMonth(numbers) {
		r.withName(time.July, numbers)
		r.slack += noMonthSlack
	}
}

// hasOtherMonth reports whether the name of a month in another language may be between day and year, in a text with a time of day: any word
// with octets over 127, or question marks that a program wrote in the place of its letters.
func (r *dateReader) hasOtherMonth(numbers []token) bool {
	if r.afterTime == 0 || len(numbers) < 2 {
		return false
	}
	day, year := numbers[0], numbers[1]
	if len(day.text) == 4 {
		day, year = year, day
	}
	if d := atoi(day.text); len(day.text) > 2 || len(year.text) != 4 || d < 1 || d > 31 {
		return false
	}
	return slices.ContainsFunc(r.tokens, func(t token) bool {
		return t.pos > numbers[0].pos && t.pos < numbers[1].pos && (!IsASCII(t.text) || t.text == "?")
	})
}

// isNumeric reports whether the first three numbers have the same separator between them, as in 30.11.2026, and no name of a month
// follows. A name before such a date is that of a weekday, even if it begins as a month does: the Ukrainian "середа", the French "mardi".
func (r *dateReader) isNumeric() bool {
	list := slices.DeleteFunc(slices.Clone(r.tokens), func(t token) bool { return t.text == " " })
	i := slices.IndexFunc(list, token.isNumber)
	if i < 0 || len(list) < i+5 {
		return false
	}
	separator := list[i+1].text
	return strings.Contains("./-", separator) && list[i+2].isNumber() && list[i+3].text == separator && list[i+4].isNumber() &&
		!slices.ContainsFunc(list[i:], func(t token) bool { return monthOf(t.text) > 0 })
}

// monthName returns the month that is named last before the time of day, or else first after it. A weekday such as the
// French "mar." comes before the month. The month is 0 if there is none. slack is a month if another language has the name for a neighbour
// of the month.
func (r *dateReader) monthName() (month time.Month, slack time.Duration) {
	for i, t := range r.tokens {
		if month > 0 && i >= r.afterTime && r.afterTime > 0 {
			break
		}
		if m := monthOf(t.text); m > 0 {
			month, slack = m, 0
			if slices.ContainsFunc(sharedPrefixes, func(prefix string) bool { return strings.HasPrefix(strings.ToLower(t.text), prefix) }) {
				slack = twoMonthsSlack
			}
		}
	}
	return month, slack
}

// withName reads a date with the name of the month. The first two numbers are day and year. The first one is the year if it has
// three digits or more.
func (r *dateReader) withName(month time.Month, numbers []token) {
	if len(numbers) < 2 {
		return
	}
	day, year := numbers[0], numbers[1]
	if len(day.text) > 2 {
		day, year = year, day
	}
	r.set(year, month, day)
}

// withoutName reads a date of three numbers. The year is the first one if that has three digits or more, and month and day follow.
// Otherwise the year is the last one, and day and month are in either order. It also reads the eight digits of ISO 8601.
func (r *dateReader) withoutName(numbers []token) {
	if len(numbers) > 0 && len(numbers[0].text) == 8 {
		t := numbers[0]
		numbers = []token{
			{text: t.text[:4], pos: t.pos}, {text: t.text[4:6], pos: t.pos + 4}, {text: t.text[6:], pos: t.pos + 6},
		}
	}
	if len(numbers) < 3 || len(numbers[1].text) > 2 {
		return
	}
	a, b, c := numbers[0], numbers[1], numbers[2]
	if len(a.text) > 2 {
		r.set(a, time.Month(min(atoi(b.text), 13)), c)
		return
	}
	first, second := atoi(a.text), atoi(b.text)
	if first > 12 || second > 12 {
		if first <= 12 {
			first, second, a = second, first, b
		}
		r.set(c, time.Month(min(second, 13)), a)
		return
	}
	r.set(c, time.Month(first), b)
	other := r.date()
	r.set(c, time.Month(second), a)
	r.slack += r.date().Sub(other).Abs()
}

func (r *dateReader) date() time.Time {
	return time.Date(r.year, r.month, r.day, 0, 0, 0, 0, time.UTC)
}

// set sets the date after checking its values.
func (r *dateReader) set(year token, month time.Month, day token) {
	if len(day.text) > 2 || len(year.text) < 2 {
		return
	}
	y, d := r.fullYear(year.pos, year.text), atoi(day.text)
	switch {
	case r.fault != nil:
		return
	case month < time.January || month > time.December:
		r.fail(day.pos, "there is no such month")
	case d < 1 || d > time.Date(y, month+1, 0, 0, 0, 0, 0, time.UTC).Day():
		r.fail(day.pos, "%s %d has no day %d", monthNames[month-1], y, d)
	}
	r.year, r.month, r.day = y, month, d
}
