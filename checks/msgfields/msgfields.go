// Package msgfields checks the header section against RFC 5322: the Date, Message-ID and From fields, fields that may occur
// only once, and the syntax of each field.
//
// The parsers are in package headers, and this package chooses the reasons. msgfields.go has the check, dates.go the Date
// fields, fields.go the others. Start with Check.
package msgfields

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"milterd/checks"
	"milterd/headers"
)

// Settings configure the check.
type Settings struct {
	Future time.Duration `yaml:"future" doc:"How far the Date field may be ahead of the arrival; under 1h, mail from clocks that are slightly wrong is refused."`
	Past   time.Duration `yaml:"past" doc:"How far the Date field may be before the arrival; senders retry for up to 5d, and moderated lists hold mail for longer."`
}

// Validate returns an error for limits of zero or less.
func (c Settings) Validate() error {
	return errors.Join(checkLimit("future", c.Future), checkLimit("past", c.Past))
}

func checkLimit(key string, limit time.Duration) error {
	if limit > 0 {
		return nil
	}
	return fmt.Errorf("%s must be over 0; to switch it off, set the action of date-%s to off", key, key)
}

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "msgfields",
	Doc: "Looks at the header section of the message: whether the fields that every message has are there, once, and well " +
		"formed, and whether the date is plausible. While the clock of this host is in doubt, an implausible date is refused with " +
		"4yz at most.",
	Stages: []checks.Stage{checks.EndOfHeader},
	Reasons: []*checks.Reason{
		dateMissing, dateInvalid, dateLax, dateFuture, datePast, msgidMissing, msgidInvalid, msgidLax, fromMissing, fromInvalid,
		fromLax, fieldDuplicate, fieldRepeated, fieldTooLong, field8bit, fieldSyntax,
	},
}, Settings{Future: 24 * time.Hour, Past: 30 * 24 * time.Hour}, func(c Settings, env checks.Env) (checks.Check, error) {
	return &check{Settings: c, clock: env.Clock}, nil
})

type check struct {
	Settings
	clock *checks.Clock
}

// Check implements checks.Check.
func (c *check) Check(_ context.Context, r *checks.Request) ([]checks.Verdict, error) {
	var f findings
	c.checkDate(&f, r)
	checkMessageID(&f, r.Envelope.Header)
	checkFrom(&f, r.Envelope.Header)
	checkRepetitions(&f, r.Envelope.Header)
	for _, field := range r.Envelope.Header {
		checkSyntax(&f, field)
	}
	return f, nil
}

// findings are verdicts, at most one for each reason: the first.
type findings []checks.Verdict

func (f *findings) add(v checks.Verdict) {
	if !slices.ContainsFunc(*f, func(old checks.Verdict) bool { return old.Reason == v.Reason }) {
		*f = append(*f, v)
	}
}

// addFault adds the verdict about a value with a fault: for lax if wanted mail has the fault, or else for invalid.
func (f *findings) addFault(fault *headers.SyntaxError, invalid, lax *checks.Reason, key, value string) {
	reason := invalid
	if fault.Lax {
		reason = lax
	}
	f.add(checks.Verdict{Reason: reason, Detail: map[string]string{key: value, "fault": fault.Cause}})
}

// syntaxError returns the fault that a function of package headers found, or nil.
func syntaxError(err error) *headers.SyntaxError {
	fault, _ := errors.AsType[*headers.SyntaxError](err)
	return fault
}
