package headers

import (
	"net/mail"
	"regexp"
	"testing"
	"time"
)

var dateTests = []struct {
	name  string
	value string
	want  string // RFC 3339
}{
	{"RFC 5322 form", "Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"},
	{"leading space of the milter protocol", " Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"},
	{"no weekday", "21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"},
	{"no seconds", "Fri, 21 Nov 1997 09:55 -0600", "1997-11-21T09:55:00-06:00"},
	{"no space after the comma", "Fri,21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"},
	{"one-digit day", "Sat, 1 Nov 1997 09:55:06 +0530", "1997-11-01T09:55:06+05:30"},
	{"two-digit day", "Sat, 01 Nov 1997 09:55:06 +0000", "1997-11-01T09:55:06Z"},
	{"extra spaces", "Sat,  1  Nov  1997  09:55:06  +0000 ", "1997-11-01T09:55:06Z"},
	{"comment after the zone", "Fri, 21 Nov 1997 09:55:06 +0200 (MESZ)", "1997-11-21T09:55:06+02:00"},
	{"nested comment with quoted pairs", `Fri, 21 Nov 1997 09:55:06 +0200 (a(b\)\()c)`, "1997-11-21T09:55:06+02:00"},
	{"Latin-1 comment", "Fri, 21 Nov 1997 09:55:06 +0100 (Westeurop\xe4ische Zeit)", "1997-11-21T09:55:06+01:00"},
	{"control in the comment", "Fri, 21 Nov 1997 09:55:06 +0100 (\x01)", "1997-11-21T09:55:06+01:00"},
	{"milter folding", " Fri, 21 Nov 1997\n\t09:55:06 +0100", "1997-11-21T09:55:06+01:00"},
	{"file folding", " Fri, 21 Nov 1997\r\n 09:55:06 +0100", "1997-11-21T09:55:06+01:00"},
	{"blank folded line", " Fri, 21 Nov 1997 09:55:06 +0100\n \n ", "1997-11-21T09:55:06+01:00"},
	{"any case", "fRI, 21 nOV 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"},
	{"one-digit hour", "Fri, 21 Nov 1997 9:55:06 -0600", "1997-11-21T09:55:06-06:00"},
	{"leap second", "Sat, 31 Dec 2016 23:59:60 +0000", "2017-01-01T00:00:00Z"},
	{"leap day", "Thu, 29 Feb 2024 00:00:00 +0000", "2024-02-29T00:00:00Z"},
	{"leap day of a century", "Tue, 29 Feb 2000 00:00:00 +0000", "2000-02-29T00:00:00Z"},
	{"unknown local zone", "Fri, 21 Nov 1997 09:55:06 -0000", "1997-11-21T09:55:06Z"},
	{"easternmost zone", "Fri, 21 Nov 1997 09:55:06 +1400", "1997-11-21T09:55:06+14:00"},
	{"westernmost zone", "Fri, 21 Nov 1997 09:55:06 -1200", "1997-11-21T09:55:06-12:00"},
	{"zone of three quarters", "Fri, 21 Nov 1997 09:55:06 +1245", "1997-11-21T09:55:06+12:45"},
	{"first year", "1 Jan 1900 00:00 +0000", "1900-01-01T00:00:00Z"},
	{"last year", "31 Dec 9999 23:59:59 +0000", "9999-12-31T23:59:59Z"},

	{"RFC 822 example", "21 Nov 97 09:55:06 GMT", "1997-11-21T09:55:06Z"},
	{"RFC 5322 obsolete example", "Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", "1997-11-21T09:55:06-06:00"},
	{"comments everywhere", "(a)Fri(b),(c)21(d)Nov(e)1997(f)09(g):(h)55(i):(j)06(k) -0600(l)", "1997-11-21T09:55:06-06:00"},
	{"space before the comma", "Fri , 21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"},
	{"no space between day, month and year", "21Nov1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"},
	{"two digits, this century", "21 Nov 49 09:55:06 -0600", "2049-11-21T09:55:06-06:00"},
	{"two digits, last century", "21 Nov 50 09:55:06 -0600", "1950-11-21T09:55:06-06:00"},
	{"three digits", "21 Nov 124 09:55:06 -0600", "2024-11-21T09:55:06-06:00"},
	{"UT", "21 Nov 1997 09:55:06 UT", "1997-11-21T09:55:06Z"},
	{"gmt", "21 Nov 1997 09:55:06 gmt", "1997-11-21T09:55:06Z"},
	{"UTC", "21 Nov 1997 09:55:06 UTC", "1997-11-21T09:55:06Z"},
	{"no space before GMT", "21 Nov 1997 09:55:06GMT", "1997-11-21T09:55:06Z"},
	{"EST", "21 Nov 1997 09:55:06 EST", "1997-11-21T09:55:06-05:00"},
	{"EDT", "21 Nov 1997 09:55:06 EDT", "1997-11-21T09:55:06-04:00"},
	{"CST", "21 Nov 1997 09:55:06 CST", "1997-11-21T09:55:06-06:00"},
	{"CDT", "21 Nov 1997 09:55:06 CDT", "1997-11-21T09:55:06-05:00"},
	{"MST", "21 Nov 1997 09:55:06 MST", "1997-11-21T09:55:06-07:00"},
	{"MDT", "21 Nov 1997 09:55:06 MDT", "1997-11-21T09:55:06-06:00"},
	{"PST", "21 Nov 1997 09:55:06 PST", "1997-11-21T09:55:06-08:00"},
	{"PDT", "21 Nov 1997 09:55:06 PDT (x)", "1997-11-21T09:55:06-07:00"},
	{"military Z", "21 Nov 1997 09:55:06 Z", "1997-11-21T09:55:06Z"},
	{"military letter", "21 Nov 1997 09:55:06 a", "1997-11-21T09:55:06Z"},
}

var badDates = []struct{ name, value, want string }{
	{"empty", "", "octet 1: the date is empty"},
	{"blank", " \n ", "octet 4: the date is empty"},
	{"only a comment", "(now)", "octet 6: the date is empty"},
	{"day 0", "0 Nov 1997 09:55:06 -0600", "octet 1: Nov 1997 has no day 0"},
	{"day 31 of November", "31 Nov 1997 09:55:06 -0600", "octet 1: Nov 1997 has no day 31"},
	{"no leap year", "29 Feb 1900 09:55:06 -0600", "octet 1: Feb 1900 has no day 29"},
	{"one-digit year", "21 Nov 7 09:55:06 -0600", "octet 8: year 7 has one digit; it must have four"},
	{"year under 1900", "21 Nov 1899 09:55:06 -0600", "octet 8: year 1899 is under 1900"},
	{"year 0102", "21 Nov 0102 09:55:06 -0600", "octet 8: year 0102 is under 1900"},
	{"year over 9999", "21 Nov 10000 09:55:06 -0600", "octet 8: year 10000 is over 9999"},
	{"endless year", "21 Nov 99999999999999999999999999 09:55:06 -0600", "octet 8: year 999999999999999999999999... is over 9999"},
	{"hour 25", "21 Nov 1997 25:00:00 -0600", "octet 13: hour 25 is over 23"},
	{"minute 60", "21 Nov 1997 09:60:06 -0600", "octet 16: minute 60 is over 59"},
	{"second 61", "21 Nov 1997 09:55:61 -0600", "octet 19: second 61 is over 60"},
	{"zone too far east", "21 Nov 1997 09:55:06 +1401", "octet 22: zone +1401 is after +1400"},
	{"zone too far west", "21 Nov 1997 09:55:06 -1201", "octet 22: zone -1201 is before -1200"},
	{"zone with 60 minutes", "21 Nov 1997 09:55:06 +0160", "octet 22: zone +0160 has more than 59 minutes"},
	{"zone with 99 minutes", "21 Nov 1997 09:55:06 -0099", "octet 22: zone -0099 has more than 59 minutes"},
	{"random text", "today", `octet 1: "today" is not Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	for _, tt := range dateTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := ParseDate(tt.value)
			if err != nil {
				t.Fatalf("%q: %v", tt.value, err)
			}
			if got := d.Time.Format(time.RFC3339); got != tt.want {
				t.Errorf("%q: got %s, want %s", tt.value, got, tt.want)
			}
			if d.Slack != 0 {
				t.Errorf("%q: slack %s", tt.value, d.Slack)
			}
		})
	}
}

func TestParseDateRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range badDates {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := ParseDate(tt.value)
			wantError(t, tt.value, err, tt.want)
			if d != (Date{}) {
				t.Errorf("%q: result with an error", tt.value)
			}
		})
	}
}

// modern matches dates whose year and zone net/mail reads as RFC 5322 does.
var modern = regexp.MustCompile(`(?i)[a-z]\s+\d{4}\s.*\s[+-]\d{4}\s*$`)

func FuzzParseDate(f *testing.F) {
	for _, tt := range dateTests {
		f.Add(tt.value)
	}
	for _, tt := range badDates {
		f.Add(tt.value)
	}
	for _, tt := range laxDates {
		f.Add(tt.value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		d, err := ParseDate(value)
		if err := checkError(t, value, err); err != nil {
			if err.Lax == d.Time.IsZero() || err.Lax && (d.Time.Year() < minYear || d.Time.Year() > maxYear+1 || d.Slack < 0) {
				t.Errorf("%q: %v with the date %+v, lax %t", value, err, d, err.Lax)
			}
			return
		}
		if d.Time.Year() > maxYear {
			return // the leap second at the very end
		}
		// A date with every optional part parses to the same instant, here and in package time.
		text := d.Time.Format(time.RFC1123Z)
		if again, err := time.Parse(time.RFC1123Z, text); err != nil || !again.Equal(d.Time) {
			t.Errorf("%q: %s parses as %v, %v", value, text, again, err)
		}
		if again, err := ParseDate(text); err != nil || !again.Time.Equal(d.Time) {
			t.Errorf("%q: %s parses as %+v, %v", value, text, again, err)
		}
		if other, err := mail.ParseDate(value); err == nil && modern.MatchString(value) && !other.Equal(d.Time) {
			t.Errorf("%q: %s, but %s for net/mail", value, d.Time, other)
		}
	})
}
