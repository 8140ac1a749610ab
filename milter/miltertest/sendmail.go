package miltertest

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"testing"
)

// Sendmail starts a Sendmail. It connects to the milter over TCP.
func (s *Site) Sendmail(t testing.TB) *MTA {
	t.Helper()
	const attempts = 5
	for range attempts {
		if m := s.trySendmail(t); m != nil {
			return m
		}
	}
	t.Fatalf("sendmail could not bind a port of ::1 in %d attempts", attempts)
	return nil
}

// trySendmail returns nil if another program took the port of ::1 before Sendmail did. IPv6 has only one loopback
// address, so the port is the only thing that can differ.
func (s *Site) trySendmail(t testing.TB) *MTA {
	t.Helper()
	host := Loopback()
	with := settings{
		Site: s, CF: sendmailConfig(),
		Host: host, Addr: net.JoinHostPort(host, "2525"), Open: net.JoinHostPort(host, "2526"),
		Port6: freePort6(t), Milter: "inet:7525@" + host,
		Second: net.JoinHostPort(host, "2527"), First: "inet:7526@" + host,
	}
	with.Example = exampleLines(t, "sendmail.mc", "dnl", "inet:8891@127.0.0.1", with.Milter)
	for _, d := range []string{"queue", "mail"} {
		must(t, os.MkdirAll(s.path("sendmail", d), 0o755))
	}
	must(t, os.Chmod(s.path("sendmail/queue"), 0o700))
	must(t, chown(s.path("sendmail/mail"), "nobody"))
	s.fill(t, "sendmail.mc", "sendmail/sendmail.mc", with)
	s.fill(t, "aliases", "sendmail/aliases", with)
	s.write(t, "sendmail/statistics", "")

	m4 := exec.Command("m4", "-D_CF_DIR_="+with.CF+"/", with.CF+"/m4/cf.m4", s.path("sendmail/sendmail.mc"))
	var stderr strings.Builder
	m4.Stderr = &stderr
	cf, err := m4.Output()
	if err != nil {
		t.Fatalf("m4: %v\n%s", err, stderr.String())
	}
	s.write(t, "sendmail/sendmail.cf", string(cf))
	config := s.path("sendmail/sendmail.cf")
	if out, err := s.Command(sendmailBinary(), "-C", config, "-bi").CombinedOutput(); err != nil {
		t.Fatalf("newaliases: %v\n%s", err, out)
	}
	mark := s.Log.Mark()
	p := StartProcess(t, s.keptCommand(sendmailBinary(), "-C", config, "-bD", "-q1h"))
	m := &MTA{
		Name: "sendmail", Addr: with.Addr, Open: with.Open,
		Addr6:     net.JoinHostPort("::1", with.Port6),
		Milter:    with.Milter,
		Second:    with.Second,
		First:     with.First,
		mailboxes: func(user string) ([]string, error) { return readMbox(s.path("sendmail/mail", user)) },
		site:      s,

		quarantine: []string{sendmailBinary(), "-C", config, "-bp", "-qQ"},
		release: func(id string) [][]string {
			// f: in the foreground, as no process of the namespace outlives the command.
			return [][]string{{sendmailBinary(), "-C", config, "-qQ", "-qI" + id, "-Q"}, {sendmailBinary(), "-C", config, "-qf"}}
		},
	}
	s.awaitSMTP(t, m, p)
	taken := s.Log.Since(mark, func(l LogLine) bool { return strings.Contains(l.Text, "cannot bind") })
	if len(taken) > 0 {
		p.Kill()
		return nil
	}
	return m
}

// freePort6 returns a free TCP port of ::1.
func freePort6(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatalf("the tests of IPv6 clients need ::1: %v", err)
	}
	defer func() { _ = l.Close() }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// readMbox returns the messages of an mbox file. It returns none while a message is being written: Sendmail writes a
// message in several parts, the last of which is an empty line.
func readMbox(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || len(data) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(string(data), "\n\n") {
		return nil, nil
	}
	return strings.Split(strings.TrimPrefix(string(data), "From "), "\n\nFrom "), nil
}

// chown gives a file to a user and the user's primary group.
func chown(path, name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}
