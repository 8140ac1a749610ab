package checks

// Verdict is a reason that applies, evidence for the client or for this mail alone, or both.
type Verdict struct {
	Reason *Reason // may be nil
	Vouch  Vouch

	// Why is the evidence, for the operator: a clause. Without a Reason and a Vouch, it is evidence for this mail alone, such as that
	// it has waited long enough.
	Why string

	// Detail has the values of the reply's placeholders. They may hold remote bytes. They are also logged, so a key must not be
	// another field of the log line, see Session.LogFields and package milter/log.
	Detail map[string]string

	// Unsure marks a verdict that may be wrong, see Check. Its Reason refuses with Tempfail at most. Its Vouch skips nothing. A SkipAll
	// makes each refusal of this check and of later ones a Tempfail, a SkipDelays those of the checks that read Request.MayVouch.
	Unsure bool
}
