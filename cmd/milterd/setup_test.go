package main

import (
	"testing"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/cmd/milterd/internal/config"
)

// TestAuthServID tests that Authentication-Results have the configured authserv-id, or the hostname.
func TestAuthServID(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{"": "mx.example.org", "filter.example.org": "filter.example.org"} {
		cfg := &config.Config{Hostname: "mx.example.org", Policy: checks.Options{TraceFields: checks.TraceFields{AuthServID: id}}}
		env := checktest.Env(t, "")
		env.Log = logrus.NewEntry(logrus.New())
		_, opts, err := newChecks(cfg, env)
		if err != nil || opts.TraceFields.AuthServID != want {
			t.Errorf("%q: %q, %v", id, opts.TraceFields.AuthServID, err)
		}
	}
}
