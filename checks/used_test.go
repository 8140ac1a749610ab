package checks_test

import (
	"testing"

	"milterd/checks"
)

// TestUsed shows that Request.Used is right from the first stage on, before there is a recipient.
func TestUsed(t *testing.T) {
	t.Parallel()
	off, policyOnly, on := reason("off"), reason("policy-only"), reason("on")
	actions := map[string]checks.Action{"off": checks.Off, "policy-only": checks.Off, "on": checks.Watch}
	bob := checks.Policy{Recipients: recipients(t, "bob@example.org"), Actions: map[string]checks.Action{
		"off": checks.Off, "policy-only": checks.Reject, "on": checks.Off,
	}}
	p := pipeline(t, actions, func(o *checks.Options) { o.Policies = []checks.Policy{bob} }, newFake("one", atConnect, off, policyOnly, on))
	r := p.NewRun(&checks.Session{}).Request()
	if r.Used(off) || !r.Used(policyOnly) || !r.Used(on) {
		t.Errorf("used: off %t, policy-only %t, on %t", r.Used(off), r.Used(policyOnly), r.Used(on))
	}
	if !checks.NewRequest(&checks.Session{}, checks.Connect).Used(off) {
		t.Error("outside of a Pipeline, a reason is not used")
	}
}
