package headers

import (
	"strings"
	"testing"
	"time"
)

// laxDates are dates that a person can read. want is the time that is assumed, slack how far it may be off.
var laxDates = []struct {
	name, value, want string
	slack             time.Duration
	fault             string
}{
	{"wrong weekday", " Mon, 21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00", 0, "octet 2: weekday is wrong: 21 Nov 1997 is a Friday"},
	{"full weekday", "Friday, 21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00", 0, `octet 1: "Friday" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"weekday at the end", "21 Nov 1997 09:55:06 -0600 Fri", "1997-11-21T09:55:06-06:00", 0, `octet 28: "Fri" after the zone`},
	{"French weekday", "mar., 25 nov. 1997 09:55:06 +0100", "1997-11-25T09:55:06+01:00", 0, `octet 1: "mar" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"no comma", "Fri 21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00", 0, `octet 5: "2" where the comma after the weekday should be`},
	{"full month", "21 November 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00", 0, `octet 4: "November" is not a month's name (Jan to Dec)`},
	{"month first", "Fri, Nov 21 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00", 0, `octet 6: "N" where the day should be`},
	{"month first with a comma", "November 21, 1997 09:55:06 GMT", "1997-11-21T09:55:06Z", 0, `octet 1: "November" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"year first", "1997 Nov 21 09:55:06 +0000", "1997-11-21T09:55:06Z", 0, "octet 1: the day has 4 digits; it must have at most 2"},
	{"German month", "21 Dez 1997 09:55:06 -0600", "1997-12-21T09:55:06-06:00", 0, `octet 4: "Dez" is not a month's name (Jan to Dec)`},
	{"French month", "21 Août 1997 09:55:06 +0200", "1997-08-21T09:55:06+02:00", 0, `octet 4: "Ao" is not a month's name (Jan to Dec)`},
	{"French month in Latin-1", "21 Ao\xfbt 1997 09:55:06 +0200", "1997-08-21T09:55:06+02:00", 0, `octet 4: "Ao" is not a month's name (Jan to Dec)`},
	{"German month in Latin-1", "21 M\xe4rz 1997 09:55:06 +0200", "1997-03-21T09:55:06+02:00", 0, `octet 4: "M" is not a month's name (Jan to Dec)`},
	{"Polish", "pią, 21 lis 1997 09:55:06 +0100", "1997-11-21T09:55:06+01:00", twoMonthsSlack, `octet 1: "pi" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"Polish month in UTF-8", "21 paź 1997 09:55:06 +0100", "1997-10-21T09:55:06+01:00", 0, `octet 4: "pa" is not a month's name (Jan to Dec)`},
	{"Czech", "pá, 21 pro 1997 09:55:06 +0100", "1997-12-21T09:55:06+01:00", 0, `octet 1: "p" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"Turkish", "Cum, 21 Kas 1997 09:55:06 +0300", "1997-11-21T09:55:06+03:00", 0, `octet 1: "Cum" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"Norwegian", "fr., 21 des. 1997 09:55:06 +0100", "1997-12-21T09:55:06+01:00", 0, `octet 1: "fr" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"Greek", "Παρ, 21 Νοέ 1997 09:55:06 +0200", "1997-11-21T09:55:06+02:00", 0, `octet 1: "\u03a0" where the day should be`},
	{"Russian", "Пт, 21 ноября 1997 09:55:06 +0300", "1997-11-21T09:55:06+03:00", 0, `octet 1: "\u041f" where the day should be`},
	{"Russian in capitals", "21 НОЯ 1997 09:55:06 +0300", "1997-11-21T09:55:06+03:00", 0, `octet 4: "\u041d" where the month's name should be`},
	{"Russian in Windows-1251", "\xcf\xf2, 21 \xed\xee\xff 1997 09:55:06 +0300", "1997-11-21T09:55:06+03:00", 0, `octet 1: "\xcf" where the day should be`},
	{"Ukrainian weekday that begins as a month", "Середа, 30.11.2022 12:00 +0200", "2022-11-30T12:00:00+02:00", 0, `octet 1: "\u0421" where the day should be`},
	{"French weekday that begins as a month", "mar. 29/11/2022 12:00 +0100", "2022-11-29T12:00:00+01:00", 0, `octet 1: "mar" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"weekday that begins as a month, spaces between", "maandag 28. 11. 22 12:00 +0100", "2022-11-28T12:00:00+01:00", 0, `octet 1: "maandag" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"weekday that begins as a month, year first", "mardi 2022-11-29 12:00 +0100", "2022-11-29T12:00:00+01:00", 0, `octet 1: "mardi" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"time with dots before the date", "13.45.30 30 Nov 1997", "2045-11-13T12:00:00Z", noTimeSlack + noZoneSlack, `octet 3: "." where the month's name should be`},
	{"weekday that begins as a month, the month after it", "mardi 29. nov. 2022 12.30.45", "2022-11-29T12:00:00Z", noTimeSlack + noZoneSlack, `octet 1: "mardi" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"Croatian", "pet, 21 stu 1997 09:55:06 +0100", "1997-11-21T09:55:06+01:00", 0, `octet 1: "pet" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"Estonian", "R, 05 dets 1997 09:55:06 +0200", "1997-12-05T09:55:06+02:00", 0, `octet 1: "R" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"Finnish", "pe, 21 marras 1997 09:55:06 +0200", "1997-11-21T09:55:06+02:00", 0, `octet 1: "pe" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"Ukrainian", "21 лис 1997 09:55:06 +0200", "1997-11-21T09:55:06+02:00", 0, `octet 4: "\u043b" where the month's name should be`},
	{"Croatian or Polish", "21 lip 1997 09:55:06 +0200", "1997-07-21T09:55:06+02:00", twoMonthsSlack, `octet 4: "lip" is not a month's name (Jan to Dec)`},
	{"Croatian or Czech", "21 srpnja 1997 09:55:06 +0200", "1997-08-21T09:55:06+02:00", twoMonthsSlack, `octet 4: "srpnja" is not a month's name (Jan to Dec)`},
	{"Polish weekday that begins as two months do", "lis, 21 gru 1997 09:55:06 +0100", "1997-12-21T09:55:06+01:00", 0, `octet 1: "lis" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"month of another language", "31 տես 1997 09:55:06 +0400", "1997-07-31T09:55:06+04:00", noMonthSlack, `octet 4: "\u057f" where the month's name should be`},
	{"month of another language in another charset", "1997 \xd1\xe5 21 09:55:06 +0400", "1997-07-21T09:55:06+04:00", noMonthSlack, "octet 1: the day has 4 digits; it must have at most 2"},
	{"month of another language in question marks", "??, 31 ??? 1997 09:55:06 +0400", "1997-07-31T09:55:06+04:00", noMonthSlack, `octet 1: "?" where the day should be`},
	{"month as a number", "21 11 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00", 0, `octet 4: "1" where the month's name should be`},
	{"hyphens", "Friday, 21-Nov-97 09:55:06 GMT", "1997-11-21T09:55:06Z", 0, `octet 1: "Friday" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
	{"dots", "21.11.1997 09:55:06 +0100", "1997-11-21T09:55:06+01:00", 0, `octet 3: "." where the month's name should be`},
	{"slashes, day first", "21/11/1997 09:55:06 +0100", "1997-11-21T09:55:06+01:00", 0, `octet 3: "/" where the month's name should be`},
	{"slashes, month first", "11/21/1997 9:55:06 PM -0600", "1997-11-21T21:55:06-06:00", 0, `octet 3: "/" where the month's name should be`},
	{"slashes, either order", "11/05/1997 09:55:06 +0000", "1997-05-11T09:55:06Z", 178 * 24 * time.Hour, `octet 3: "/" where the month's name should be`},
	{"hour 24 after midnight, of Java", "Fri, 21 Nov 1997 24:05:06 +0100", "1997-11-21T00:05:06+01:00", hour24Slack, "octet 18: hour 24 is over 23"},
	{"hour 24 at the end of a day, of ISO 8601", "1997-11-21T24:00:00Z", "1997-11-21T00:00:00Z", hour24Slack, "octet 1: the day has 4 digits; it must have at most 2"},
	{"12 AM", "21 Nov 1997 12:55:06 AM -0600", "1997-11-21T00:55:06-06:00", 0, `octet 22: "AM" is not a zone`},
	{"PM", "21 Nov 1997 09:55:06 PM -0600", "1997-11-21T21:55:06-06:00", 0, `octet 22: "PM" is not a zone`},
	{"Chinese", "1997年11月21日 09:55:06 +0800", "1997-11-21T09:55:06+08:00", 0, "octet 1: the day has 4 digits; it must have at most 2"},

	{"asctime", "Fri Nov 21 09:55:06 1997", "1997-11-21T09:55:06Z", noZoneSlack, `octet 5: "N" where the comma after the weekday should be`},
	{"asctime with one digit", "Sat Nov  1 09:55:06 1997", "1997-11-01T09:55:06Z", noZoneSlack, `octet 5: "N" where the comma after the weekday should be`},
	{"date(1)", "Fri Nov 21 09:55:06 EST 1997", "1997-11-21T09:55:06-05:00", 0, `octet 5: "N" where the comma after the weekday should be`},
	{"date(1), unknown zone", "Fri Nov 21 09:55:06 CET 1997", "1997-11-21T09:55:06Z", noZoneSlack, `octet 5: "N" where the comma after the weekday should be`},
	{"JavaScript", "Fri Nov 21 1997 09:55:06 GMT-0600 (Central Standard Time)", "1997-11-21T09:55:06-06:00", 0, `octet 5: "N" where the comma after the weekday should be`},
	{"ISO 8601", "1997-11-21T09:55:06Z", "1997-11-21T09:55:06Z", 0, "octet 1: the day has 4 digits; it must have at most 2"},
	{"ISO 8601 with fraction and zone", "1997-11-21T09:55:06.123-06:00", "1997-11-21T09:55:06-06:00", 0, "octet 1: the day has 4 digits; it must have at most 2"},
	{"ISO 8601 with a space", "1997-11-21 09:55:06 +0100", "1997-11-21T09:55:06+01:00", 0, "octet 1: the day has 4 digits; it must have at most 2"},
	{"time before ISO 8601", "09:55:06 1997-11-21", "1997-11-21T09:55:06Z", noZoneSlack, `octet 3: ":" where the month's name should be`},
	{"time and zone before ISO 8601", "09:55 GMT-6 1997-11-21", "1997-11-21T09:55:00-06:00", 0, `octet 3: ":" where the month's name should be`},
	{"time before hyphens", "Fri 09:55:06 21-Nov-1997 -0600", "1997-11-21T09:55:06-06:00", 0, `octet 5: "0" where the comma after the weekday should be`},
	{"time before a date without spaces", "09:55:06 21Nov1997", "1997-11-21T09:55:06Z", noZoneSlack, `octet 3: ":" where the month's name should be`},
	{"time before Chinese", "09:55 1997年11月21日", "1997-11-21T09:55:00Z", noZoneSlack, `octet 3: ":" where the month's name should be`},
	{"zone that begins as a month", "Fri Nov 21 09:55:06 NOVT-6 1997", "1997-11-21T09:55:06-06:00", 0, `octet 5: "N" where the comma after the weekday should be`},
	{"ISO 8601, basic", "19971121T095506Z", "1997-11-21T12:00:00Z", noTimeSlack + noZoneSlack, "octet 1: the day has 8 digits; it must have at most 2"},
	{"only a date", "21 Nov 1997", "1997-11-21T12:00:00Z", noTimeSlack + noZoneSlack, "octet 12: the hour is missing"},
	{"only a date of ISO 8601", "1997-11-21", "1997-11-21T12:00:00Z", noTimeSlack + noZoneSlack, "octet 1: the day has 4 digits; it must have at most 2"},
	{"8-bit weekday", "Fr\xe9, 21 Nov 1997", "1997-11-21T12:00:00Z", noTimeSlack + noZoneSlack, `octet 1: "Fr" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},

	{"encoded-word", "=?utf-8?q?Fri=2C_21_Nov_1997_09=3A55=3A06_-0600?=", "1997-11-21T09:55:06-06:00", 0, `octet 1: "=" where the day should be`},
	{"encoded-word of qBittorrent, in Japanese", "=?utf-8?b?5pelLCAyMSAyIDIwMTYgMDc6MzY6MTUgVVQ=?=", "2016-02-21T07:36:15Z", 0, `octet 1: "=" where the day should be`},

	{"one-digit minute", "21 Nov 1997 09:5:06 -0600", "1997-11-21T09:05:06-06:00", 0, "octet 16: the minute has 1 digit; it must have 2"},
	{"three-digit hour", "21 Nov 1997 009:55:06 -0600", "1997-11-21T09:55:06-06:00", 0, "octet 13: the hour has 3 digits; it must have at most 2"},
	{"one-digit second", "21 Nov 1997 09:55:6 -0600", "1997-11-21T09:55:06-06:00", 0, "octet 19: the second has 1 digit; it must have 2"},
	{"fraction of a second", "21 Nov 1997 09:55:06.5 -0600", "1997-11-21T09:55:06-06:00", 0, `octet 21: "." where the zone should be`},

	{"no zone", "21 Nov 1997 09:55:06", "1997-11-21T09:55:06Z", noZoneSlack, "octet 21: the zone is missing"},
	{"zone in a comment", "21 Nov 1997 09:55:06 (+0200)", "1997-11-21T09:55:06Z", noZoneSlack, "octet 29: the zone is missing; a comment does not count"},
	{"no space before the zone", "21 Nov 1997 09:55:06+0200", "1997-11-21T09:55:06+02:00", 0, "octet 21: no space before the zone"},
	{"zone of one digit", "21 Nov 1997 09:55:06 +2", "1997-11-21T09:55:06+02:00", 0, "octet 22: zone +2 does not have four digits"},
	{"zone of three digits", "21 Nov 1997 09:55:06 +200", "1997-11-21T09:55:06+02:00", 0, "octet 22: zone +200 does not have four digits"},
	{"zone of five digits", "21 Nov 1997 09:55:06 +02000", "1997-11-21T09:55:06Z", noZoneSlack, "octet 22: zone +02000 does not have four digits"},
	{"zone with a colon", "21 Nov 1997 09:55:06 +02:00", "1997-11-21T09:55:06+02:00", 0, "octet 22: zone +02 does not have four digits"},
	{"unknown zone name", "21 Nov 1997 09:55:06 CEST", "1997-11-21T09:55:06Z", noZoneSlack, `octet 22: "CEST" is not a zone`},
	{"military J", "21 Nov 1997 09:55:06 J", "1997-11-21T09:55:06Z", noZoneSlack, `octet 22: "J" is not a zone`},
	{"long zone name", "21 Nov 1997 09:55:06 Europe/Berlin", "1997-11-21T09:55:06Z", noZoneSlack, `octet 22: "Europe" is not a zone`},
	{"zone name with a digit", "21 Nov 1997 09:55:06 EST5EDT", "1997-11-21T09:55:06Z", noZoneSlack, `octet 25: "5EDT" after the zone`},
	{"GMT with an offset", "21 Nov 1997 09:55:06 GMT+2", "1997-11-21T09:55:06+02:00", 0, `octet 25: "+2" after the zone`},
	{"zone twice", "21 Nov 1997 09:55:06 -0600 CST", "1997-11-21T09:55:06-06:00", 0, `octet 28: "CST" after the zone`},
	{"open comment", "21 Nov 1997 09:55:06 -0600 (C(S)T", "1997-11-21T09:55:06-06:00", 0, "octet 28: comment is not closed"},
	{"backslash at the end", `21 Nov 1997 09:55:06 -0600 (\`, "1997-11-21T09:55:06-06:00", 0, "octet 29: backslash with nothing after it"},
	{"bare CR", "21 Nov 1997 09:55:06 -0600\r", "1997-11-21T09:55:06-06:00", 0, "octet 27: CR without LF"},
	{"line break without folding", "21 Nov 1997\n09:55:06 -0600", "1997-11-21T09:55:06-06:00", 0, "octet 12: line break without white space after it"},
	{"NUL in a comment", "21 Nov 1997 09:55:06 -0600 (\x00)", "1997-11-21T09:55:06-06:00", 0, "octet 29: NUL octet"},
}

func TestParseDateLax(t *testing.T) {
	t.Parallel()
	for _, tt := range laxDates {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := ParseDate(tt.value)
			wantError(t, tt.value, err, tt.fault)
			if syntax := checkError(t, tt.value, err); syntax == nil || !syntax.Lax {
				t.Errorf("%q is not lax", tt.value)
			}
			if got := d.Time.Format(time.RFC3339); got != tt.want || d.Slack != tt.slack {
				t.Errorf("%q: got %s, slack %s, want %s, %s", tt.value, got, d.Slack, tt.want, tt.slack)
			}
		})
	}
}

// TestParseDateNone tests text without a date and impossible values in forms that are lax otherwise.
func TestParseDateNone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, value, want string }{
		{"a word", "yesterday", `octet 1: "yesterday" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
		{"a weekday", "Sat", "octet 4: the comma after the weekday is missing"},
		{"a time of day", "12:00:00 +0000", `octet 3: ":" where the month's name should be`},
		{"no year", "21 Nov 12:00:00 +0000", `octet 10: ":" where the hour should be`},
		{"seconds since 1970", "880127706", "octet 1: the day has 9 digits; it must have at most 2"},
		{"no month of any language", "21 Foo 1997 12:00:00 +0000", `octet 4: "Foo" is not a month's name (Jan to Dec)`},
		{"no day before a word of another language", "32 տես 1997 12:00:00 +0000", `octet 4: "\u057f" where the month's name should be`},
		{"no year after a word of another language", "21 տես 123 12:00:00 +0000", `octet 4: "\u057f" where the month's name should be`},
		{"no time beside a word of another language", "21 տես 1997", `octet 4: "\u057f" where the month's name should be`},
		{"a word of another language not between day and year", "տես 21 1997 12:00:00 +0000", `octet 1: "\u057f" where the day should be`},
		{"31 February in full", "31 February 1997 12:00:00 +0000", "octet 1: Feb 1997 has no day 31"},
		{"hour 25 of ISO 8601", "1997-11-21T25:00:00Z", "octet 12: hour 25 is over 23"},
		{"hour 25 in an encoded-word", " =?utf-8?q?21_Nov_1997_25=3A00=3A00_+0000?=", "octet 1: hour 25 is over 23"},
		{"hour of three digits", "21 Nov 1997 125:00:00 +0000", "octet 13: hour 125 is over 23"},
		{"month 13", "1997-13-21T12:00:00Z", "octet 9: there is no such month"},
		{"day and month over 12", "21/21/1997", "octet 1: there is no such month"},
		{"zone outside the limits with a colon", "21 Nov 1997 12:00:00 +99:00", "octet 22: zone +99 is after +1400"},
		{"year over 9999 in asctime", "Fri Nov 21 09:55:06 19997", "octet 21: year 19997 is over 9999"},
		{"a date after 256 bytes", strings.Repeat(" ", 256) + "1997-11-21", "octet 257: the day has 4 digits; it must have at most 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := ParseDate(tt.value)
			wantError(t, tt.value, err, tt.want)
			if syntax := checkError(t, tt.value, err); syntax != nil && syntax.Lax || d != (Date{}) {
				t.Errorf("%q: lax or with a result", tt.value)
			}
		})
	}
}
