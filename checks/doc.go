// Package checks has the vocabulary of milterd and the Pipeline that judges SMTP sessions.
//
// A Session is what the MTA reported. A Check answers one question about it with Verdicts. A Verdict points to a Reason, and
// the operator's policy (Options) maps each Reason to an Action. Terms are those of RFC 5321 (SMTP), RFC 5598 (roles),
// RFC 3463 (enhanced status codes) and RFC 8601 (results).
//
// A HELO name passes these functions on its way from the socket to the reply:
//
//	milter.(*session).Helo       receives the callback
//	(*Session).SetHelo           stores the name
//	(*Run).Judge                 judges a stage: here Helo, and RcptTo, where the reply is due
//	(*Run).prefetch              announces the questions of the checks, which are then asked in the background
//	(*Run).decide                goes through the checks in order; decideRcpt chose the actions of the recipient
//	(*Run).find                  asks one check, or returns what it found before
//	helo.(*check).Check          returns verdicts
//	(*Run).apply                 applies the action of each reason
//	(*Run).refuse                makes the reply
//	milter.(*session).answer     sends it
package checks
