// Package miltertest has the MTA's side of the milter protocol, and real mail servers, for tests.
//
// Conn is a milter client that behaves as Postfix and Sendmail do: it offers version 6 of the protocol with all its
// options, keeps to those that the filter chose, and waits for no response that the filter does not give. Session plays
// a whole SMTP session over a Conn.
//
// Site is a private environment in which a test starts a Postfix, a Sendmail or an Exim; SMTPClient talks to them. A
// test that needs a Site calls Require first.
package miltertest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Require skips the test unless MILTERD_TEST_REAL=1 is set, which says that the mail servers are installed. If it is
// set, a missing program is a failure.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv("MILTERD_TEST_REAL") != "1" {
		t.Skip("needs a real Postfix, Sendmail and Exim: run `make test`, or .ci/install and set MILTERD_TEST_REAL=1")
	}
	if os.Geteuid() != 0 {
		t.Fatal("MILTERD_TEST_REAL=1 needs root, for mount namespaces and Postfix's master")
	}
	for _, f := range []string{eximBinary(), sendmailBinary(), filepath.Join(sendmailConfig(), "m4/cf.m4")} {
		if _, err := os.Stat(f); err != nil {
			t.Fatalf("%v: run .ci/install", err)
		}
	}
	for _, c := range []string{"postfix", "m4", "mount"} {
		if _, err := lookPath(c); err != nil {
			t.Fatalf("%v: run .ci/install", err)
		}
	}
}

// lookPath is exec.LookPath, which also searches /usr/sbin.
func lookPath(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	return exec.LookPath("/usr/sbin/" + name)
}

// unpacked returns the folder into which .ci/install unpacks the packages of a mail server.
func unpacked(name string) string {
	return filepath.Join(cmp.Or(os.Getenv("MILTERD_TEST_ROOT"), "/opt/milterd-test"), name)
}

func eximBinary() string { return filepath.Join(unpacked("exim"), "usr/sbin/exim4") }

func sendmailBinary() string {
	return filepath.Join(unpacked("sendmail"), "usr/libexec/sendmail/sendmail")
}

func sendmailConfig() string { return filepath.Join(unpacked("sendmail"), "usr/share/sendmail/cf") }

// WaitTimeout is how long a test waits for something that must happen. A shorter one fails on a loaded machine; a
// longer one only delays a test that fails.
const WaitTimeout = 60 * time.Second

// Leeway is what a loaded machine may add to the time of a response. The tests of a time limit have a fault that lasts longer
// than the limit and the leeway together, so that a missing limit is found.
const Leeway = 20 * time.Second

// Eventually waits until ready returns true. It fails the test after WaitTimeout.
func Eventually(t testing.TB, what string, ready func() bool) {
	t.Helper()
	for end := time.Now().Add(WaitTimeout); ; {
		began := time.Now()
		if ready() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", WaitTimeout, what)
		}
		// A slow condition, such as what a program prints, is not tested all the time: that would slow down what it waits for.
		time.Sleep(min(max(5*time.Millisecond, 2*time.Since(began)), 100*time.Millisecond))
	}
}

// Loopback returns a random address of 127/8 that no other test is likely to use. 127.0/16 is left out: clients of the
// tests and services of the system have their addresses there.
func Loopback() string {
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(256), 1+rand.IntN(250))
}

// SplitListener converts a listener as milterd's configuration spells it into the arguments of net.Dial.
func SplitListener(listener string) (network, addr string) {
	kind, rest, _ := strings.Cut(listener, ":")
	if kind == "unix" || kind == "local" {
		return "unix", rest
	}
	port, host, _ := strings.Cut(rest, "@")
	return "tcp", net.JoinHostPort(host, port)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
