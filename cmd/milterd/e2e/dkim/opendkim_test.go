package dkim

import (
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"milterd/checks/facts/dkim"
	"milterd/milter/miltertest"
)

// keyFile returns a file with the private key.
func keyFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, []byte(keyPEM()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestOpenDKIMTestMessage tests the signature of opendkim-testmsg, which uses the algorithm that RFC 8301 forbids.
func TestOpenDKIMTestMessage(t *testing.T) {
	miltertest.Require(t)
	cmd := exec.CommandContext(t.Context(), program(t, "opendkim-testmsg"), "-C", "-d", "example.net", "-k", keyFile(t), "-s", "rsa", "-t", t.TempDir())
	cmd.Stdin = strings.NewReader("From: ann@example.net\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n\r\nHi.\r\n")
	signed, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if res := verify(t, zone(t), string(signed)); res.Status != dkim.PermError || !strings.Contains(res.Why, "rsa-sha1") {
		t.Errorf("%s %s: %q", res.Status, res.Why, signed)
	}
}

// TestOpenDKIM tests that messages that the filter opendkim signed pass, in all pairs of canonicalisations.
func TestOpenDKIM(t *testing.T) {
	miltertest.Require(t)
	for i := range 4 {
		form := forms[i%2] + "/" + forms[i/2]
		t.Run(form, func(t *testing.T) {
			r, dns := mathrand.New(mathrand.NewPCG(7, uint64(i))), zone(t)
			socket := startOpenDKIM(t, form)
			for range 20 {
				message := generated(r)
				if res := verify(t, dns, signedBy(t, socket, message)); res.Status != dkim.Pass {
					t.Errorf("%s %s: %q", res.Status, res.Why, message)
				}
			}
		})
	}
}

// startOpenDKIM starts opendkim as a signer until the end of the test. It returns the path of its socket.
func startOpenDKIM(t *testing.T, form string) string {
	t.Helper()
	return startFilter(t, "opendkim", fmt.Sprintf("Mode s\nDomain example.net\nSelector rsa\nKeyFile %s\nCanonicalization %s\n"+
		"InternalHosts 127.0.0.1\nRequireSafeKeys no\n", keyFile(t), form))
}

// signedBy passes a message through a filter and returns it with the field that the filter inserts.
func signedBy(t *testing.T, socket, message string) string {
	t.Helper()
	outcome := dial(t, socket).send("ann@example.net", message)
	for _, change := range outcome.Changes {
		if change.Name == "DKIM-Signature" {
			value := change.Value
			if !strings.HasPrefix(value, " ") {
				value = " " + value
			}
			return change.Name + ":" + strings.ReplaceAll(value, "\n", "\r\n") + "\r\n" + message
		}
	}
	t.Fatalf("opendkim did not sign: %+v", outcome)
	return ""
}
