package dkim

import (
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/checks/facts/dkim"
	"milterd/milter/miltertest"
)

// program returns the path of a program of OpenDKIM.
func program(t *testing.T, name string) string {
	t.Helper()
	path := "/usr/sbin/" + name
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run .ci/install", err)
	}
	return path
}

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
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	config := fmt.Sprintf("Mode s\nDomain example.net\nSelector rsa\nKeyFile %s\nCanonicalization %s\nSocket local:%s\nInternalHosts 127.0.0.1\nRequireSafeKeys no\n",
		keyFile(t), form, socket)
	file := filepath.Join(dir, "opendkim.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program(t, "opendkim"), "-f", "-x", file)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	miltertest.Eventually(t, "opendkim listens", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return socket
}

// signedBy passes a message through a filter and returns it with the field that the filter inserts.
func signedBy(t *testing.T, socket, message string) string {
	t.Helper()
	c, err := miltertest.Dial("unix", socket, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fields, body := split(message)
	must := func(r miltertest.Response, err error) miltertest.Response {
		t.Helper()
		if err != nil || r.Refused() {
			t.Fatalf("opendkim: %+v, %v", r, err)
		}
		return r
	}
	must(c.Connect("localhost", netip.MustParseAddrPort("127.0.0.1:1025"), map[string]string{}))
	must(c.Helo("localhost", map[string]string{}))
	must(c.Mail("<ann@example.net>", map[string]string{}))
	must(c.Rcpt("<user@example.org>", map[string]string{"i": "Q1"}))
	for _, f := range fields {
		must(c.Header(f.Name, f.Value))
	}
	must(c.EndOfHeader(map[string]string{"i": "Q1"}))
	must(c.WholeBody(body))
	outcome := must(c.EndOfMessage(map[string]string{"i": "Q1"}))
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
