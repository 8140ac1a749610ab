package packages

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// socket is where the packages listen.
const socket = "127.0.0.1:8891"

// TestLintian tests that Debian's checker has no error and no warning. The reasons of overrides are beside them.
func TestLintian(t *testing.T) {
	require(t)
	t.Parallel()
	out := output(t, "lintian", "--allow-root", "--fail-on", "none", "--tag-display-limit", "0", "--show-overrides", file(t, dist(t), ".deb"))
	t.Logf("lintian:\n%s", out)
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "O: ") && !strings.HasPrefix(line, "N: ") {
			t.Errorf("%s", line)
		}
	}
}

// TestDebian installs, upgrades, downgrades, removes and purges the .deb, first without systemd, then under systemd with a
// Postfix that is attached to the socket of the package.
func TestDebian(t *testing.T) {
	require(t)
	t.Parallel()
	old, next := file(t, dist(t), ".deb"), file(t, build(t, nextVersion, "next", "ARCHS="+goarch, "FORMATS=deb"), ".deb")
	n := newNetwork(t)
	site := miltertest.NewSite(t, daemontest.World)
	host, _, err := net.SplitHostPort(site.DNS.Addr)
	if err != nil {
		t.Fatal(err)
	}
	c := newContainer(t, host)
	c.install(t, old)
	testInstalled(t, c)
	c.boot(t)
	testRunning(t, c)
	testReport(t, c)

	mta := site.Postfix(t, "smtpd_milters = inet:"+socket)
	testWatch(t, c, mta)
	testUpgrades(t, c, mta, n, old, next)
	testFailedStart(t, c, mta)
	testDisabled(t, c, next)
	testRemoval(t, c, old)
}

// testInstalled tests what an installation without systemd left: an account, folders, a configuration, and enabled units.
func testInstalled(t *testing.T, c *container) {
	wantVersion(t, c.run(t, "milterd", "--version"))
	account := strings.Split(strings.TrimSpace(c.run(t, "getent", "passwd", "milterd")), ":")
	if len(account) < 7 || len(account[2]) > 3 || !strings.HasSuffix(account[6], "nologin") {
		t.Errorf("account %q, want one of the system without a shell", account)
	}
	if got := c.run(t, "stat", "-c", "%U:%G %a", "/var/lib/milterd"); got != "milterd:milterd 700\n" {
		t.Errorf("/var/lib/milterd: %q", got)
	}
	if got := c.run(t, "dpkg-query", "-W", "-f", "${Conffiles}", "milterd"); !strings.HasPrefix(got, " /etc/milterd/milterd.yaml ") ||
		strings.Count(strings.TrimSpace(got), "\n") != 0 {
		t.Errorf("conffiles: %q", got)
	}
	c.run(t, "milterd", "check-config")
	for unit, want := range map[string]string{"milterd.service": "enabled", "milterd.socket": "enabled"} {
		if got := c.run(t, "systemctl", "is-enabled", unit); got != want+"\n" {
			t.Errorf("%s is %q, want %s", unit, got, want)
		}
	}
	c.fails(t, "systemctl", "is-enabled", "milterd-report.timer")
	const unit, report = "/usr/lib/systemd/system/milterd.service", "/usr/lib/systemd/system/milterd-report.service"
	for path, threshold := range map[string]string{unit: "20", report: "40"} {
		exposure := c.run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+threshold, path)
		t.Log(strings.TrimSpace(exposure[strings.LastIndex(strings.TrimSpace(exposure), "\n")+1:]))
	}
	if got := c.run(t, "systemd-analyze", "verify", "--man=no", unit, report, "/usr/lib/systemd/system/milterd-report.timer"); strings.Contains(got, "milterd") {
		t.Errorf("systemd-analyze verify: %s", got)
	}
	if got := c.run(t, "dpkg", "--verify", "milterd"); got != "" {
		t.Errorf("changed files: %s", got)
	}
}

// testRunning tests that the units are up after a boot, as the account.
func testRunning(t *testing.T, c *container) {
	if out, err := c.command("systemctl", "is-active", "milterd.socket", "milterd.service").CombinedOutput(); err != nil {
		t.Fatalf("%s\n%s", out, c.run(t, "sh", "-c", "systemctl status --no-pager -l milterd.socket milterd.service; true"))
	}
	if got := c.run(t, "sh", "-c", "ps -o user= -C milterd"); strings.TrimSpace(got) != "milterd" {
		t.Errorf("milterd runs as %q", got)
	}
	c.run(t, "milterd", "status")
	c.fails(t, "systemctl", "is-active", "milterd-report.timer")
}

// testReport tests that the unit of the daily report leaves the sendmail program what it may need to deliver mail: root, setgid programs,
// /home and /var.
func testReport(t *testing.T, c *container) {
	const program = "/usr/local/sbin/sendmail" // of those in PATH, the first
	c.run(t, "sh", "-c", `printf '%s\n' "$2" >"$1" && chmod 755 "$1"`, "sh", program, `#!/bin/sh
		set -e
		cat >/home/report
		cp /home/report /var/mail/report
		chown nobody /home/report /var/mail/report
		grep -q 'NoNewPrivs:.0' /proc/self/status`)
	c.run(t, "systemctl", "start", "milterd-report.service")
	if got := c.run(t, "cat", "/var/mail/report"); !strings.HasPrefix(got, "To: <postmaster>\nSubject: milterd on ") {
		t.Errorf("got %.200s", got)
	}
	c.run(t, "rm", program)
}

// sendWatched sends a message with a HELO name that the profiles safe and strict refuse. It must be delivered.
func sendWatched(t *testing.T, mta *miltertest.MTA) {
	t.Helper()
	smtp := miltertest.DialSMTP(t, mta.Addr, "127.0.0.1")
	smtp.Must("2", "XCLIENT ADDR=192.0.2.9 NAME=[UNAVAILABLE]")
	smtp.Must("2", "EHLO 192.0.2.9")
	daemontest.Envelope(smtp, daemontest.GoodSender, "alice@mx.test")
	subject, msg := daemontest.UniqueMessage()
	daemontest.SendMessage(t, smtp, msg)
	mta.Delivered(t, "alice", subject)
}

// testWatch tests that mail which other profiles refuse is let in and logged.
func testWatch(t *testing.T, c *container, mta *miltertest.MTA) {
	sendWatched(t, mta)
	miltertest.Eventually(t, "the decision is kept", func() bool {
		return strings.Contains(c.run(t, "milterd", "log", "--json"), `"helo-bare-ip"`)
	})
	if log := c.run(t, "journalctl", "--no-pager", "-t", "milterd"); !strings.Contains(log, "msg=accept") {
		t.Errorf("the log has no accepted message:\n%s", log)
	}
}

// testFailedStart tests that the daemon starts by itself after an error in its configuration was corrected, however often systemd has tried
// before, and that the socket of systemd stays: clients wait meanwhile.
func testFailedStart(t *testing.T, c *container, mta *miltertest.MTA) {
	const usualLimit = 5 // starts in 10 s, after which systemd by itself does not try again
	c.run(t, "cp", "/etc/milterd/milterd.yaml", "/etc/milterd/good.yaml")
	c.run(t, "sh", "-c", "echo 'profil: watch' >>/etc/milterd/milterd.yaml")
	c.fails(t, "systemctl", "restart", "milterd.service")
	miltertest.Eventually(t, "systemd has tried often", func() bool {
		n, err := strconv.Atoi(strings.TrimSpace(c.run(t, "systemctl", "show", "-P", "NRestarts", "milterd.service")))
		return err == nil && n > usualLimit+1
	})
	if got := c.run(t, "systemctl", "is-active", "milterd.socket"); got != "active\n" {
		t.Errorf("milterd.socket is %q", got)
	}
	c.run(t, "mv", "/etc/milterd/good.yaml", "/etc/milterd/milterd.yaml")
	sendWatched(t, mta)
	testRunning(t, c)
}

// testDisabled tests that an upgrade neither enables nor starts units that were disabled.
func testDisabled(t *testing.T, c *container, deb string) {
	c.run(t, "systemctl", "disable", "--now", "milterd.socket", "milterd.service")
	c.install(t, deb)
	for _, unit := range []string{"milterd.socket", "milterd.service"} {
		c.fails(t, "systemctl", "is-enabled", unit)
		c.fails(t, "systemctl", "is-active", unit)
	}
	c.run(t, "systemctl", "enable", "--now", "milterd.socket", "milterd.service")
	testRunning(t, c)
}

// testRemoval tests that a removed package keeps its configuration and state, and that a purged one leaves nothing.
func testRemoval(t *testing.T, c *container, deb string) {
	if got := c.run(t, "dpkg", "--remove", "milterd"); !strings.Contains(got, "smtpd_milters") {
		t.Errorf("the removal does not say that mail servers defer mail: %s", got)
	}
	if conn, err := net.Dial("tcp", socket); err == nil {
		_ = conn.Close()
		t.Error("something still listens after the removal")
	}
	c.run(t, "test", "-d", "/var/lib/milterd/store", "-a", "-f", "/etc/milterd/milterd.yaml")
	c.install(t, deb)
	testRunning(t, c)
	if got := c.run(t, "milterd", "access", "list"); !strings.Contains(got, deniedClient) {
		t.Errorf("the entry of the list is lost after a removal and an installation: %s", got)
	}
	c.run(t, "dpkg", "--purge", "milterd")
	c.fails(t, "getent", "passwd", "milterd")
	c.fails(t, "getent", "group", "milterd")
	left := c.run(t, "sh", "-c", `find / -xdev \( -path /proc -o -path /sys -o -path /tmp -o -path /work -o -path /root \) -prune -o -path '*milterd*' -newer /etc/resolv.conf -print 2>/dev/null || true`)
	if left != "" {
		t.Errorf("left after the purge:\n%s", left)
	}
	if got := c.run(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", "milterd*"); strings.Contains(got, "failed") {
		t.Errorf("failed units: %s", got)
	}
}
