// Package tls is the check for encryption: whether the client used TLS (RFC 3207) for the session. Start reading at check.Check.
//
// Much honest mail still comes without TLS, so the reason is only watched unless the operator or a policy sets it to more.
package tls

import (
	"context"

	"milterd/checks"
)

var none = &checks.Reason{
	ID:    "no-tls",
	Reply: checks.Reply{Code: 550, Enhanced: "5.7.10", Text: "{client} did not use TLS for mail to {rcpt}"},
	When:  "the client did not use TLS",
	Why: "Your server sent the mail without encryption: everybody on the way can read and change it. This recipient accepts only " +
		"mail that comes over TLS.",
	Remedy: "Switch on STARTTLS for outgoing mail (Postfix: smtp_tls_security_level = may). If your server has it, see in its log " +
		"why the handshake with this site failed.",
	Safe: checks.Watch, Strict: checks.Watch,
	NotHistory: true,
}

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "tls",
	Doc: "Requires that the client uses TLS. Much honest mail still comes without it, so no-tls is watched in all profiles; set it " +
		"to reject in a policy for recipients who must not get mail that others could read.",
	Stages:  []checks.Stage{checks.MailFrom},
	Reasons: []*checks.Reason{none},
}, checks.NoSettings{}, func(checks.NoSettings, checks.Env) (checks.Check, error) { return check{}, nil })

type check struct{}

// Check implements checks.Check. The MTA sends the macro {tls_version} with the first HELO after STARTTLS, for the connection.
func (check) Check(_ context.Context, r *checks.Request) ([]checks.Verdict, error) {
	// Every MTA sends {client_addr}. A session without it is a replay, of which it is not known whether it used TLS.
	isReplay := r.Macros["{client_addr}"] == ""
	if isReplay || r.Macros["{tls_version}"] != "" {
		return nil, nil
	}
	return []checks.Verdict{{Reason: none}}, nil
}
