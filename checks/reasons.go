package checks

// Reasons of the Pipeline itself. No check returns them.
var (
	checkFailed = &Reason{
		ID:     "check-failed",
		Reply:  Reply{Code: 451, Enhanced: "4.4.3", Text: "{check} could not be checked for now, please try again later"},
		When:   "a check could not find out, and on_error is tempfail",
		Why:    "A question that this site asks about every message, mostly to the DNS, was not answered in time.",
		Remedy: "Nothing: your server tries again by itself. If it goes on, see that the name servers of your domain and of your address answer.",
		Safe:   Tempfail, Strict: Tempfail,
		Repair: Elsewhere,
	}
	policiesDiffer = &Reason{
		ID:     "policies-differ",
		Reply:  Reply{Code: 452, Enhanced: "4.5.3", Text: "{rcpt} has other rules for messages than the recipients before, please send to it separately"},
		When:   "a recipient's enforced header or message reasons are others than those of the first accepted recipient",
		Why:    "The recipients of one message share its header section and body, but these recipients have different rules for them.",
		Remedy: "Nothing: your server sends the message to the remaining recipients by itself (RFC 5321 section 4.5.3.1.10).",
		Safe:   Tempfail, Strict: Tempfail,
	}
	memoryFull = &Reason{ // see Run.LackMemory
		ID:     "memory-full",
		Reply:  Reply{Code: 452, Enhanced: "4.3.1", Text: "the mail filter has no memory left for {rcpt}, please try again later"},
		When:   "the sessions together hold `memory`; messages in flight go on",
		Why:    "So many messages come at the moment that the mail filter of this site has reached its limit of memory.",
		Remedy: "Nothing: your server tries again by itself.",
		Safe:   Tempfail, Strict: Tempfail,
	}
)

// PipelineReasons returns the reasons for which the Pipeline itself defers mail. Their actions cannot be configured.
func PipelineReasons() []*Reason { return []*Reason{checkFailed, policiesDiffer, memoryFull} }
