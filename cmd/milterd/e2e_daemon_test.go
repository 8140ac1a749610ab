package main_test

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"milterd/milter/miltertest"
)

// The end-to-end tests drive the program as it is shipped: built, configured by a file, and spoken to over its sockets.

// buildDir holds the built program while the tests run.
var buildDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "milterd-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		buildDir = dir
		return m.Run()
	}())
}

// build makes the program once.
var build = sync.OnceValues(func() (string, error) { return compile("milterd") })

// compile makes it under a name, with the race detector if the tests have it.
func compile(name string, flags ...string) (string, error) {
	// Programs of a site run as other users too.
	if err := os.Chmod(buildDir, 0o755); err != nil {
		return "", err
	}
	bin := filepath.Join(buildDir, name)
	args := append([]string{"build", "-o", bin}, flags...)
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "milterd/cmd/milterd")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
}

// config is what the tests set in a configuration file.
type config struct {
	listen  []string // YAML of each listener
	dns     string   // "host:port" of the name server
	domain  string   // of the site, and name of its host; empty: mx.test
	syslog  string
	profile string
	actions map[string]string
	more    string // further lines
}

// text writes the file. Nobody is trusted, because every client of a test is on loopback.
func (c config) text() string {
	var b strings.Builder
	domain := cmp.Or(c.domain, "mx.test")
	fmt.Fprintf(&b, "listen: [%s]\nhostname: %s\nlocal_domains: [%s]\n", strings.Join(c.listen, ", "), domain, domain)
	fmt.Fprintf(&b, "profile: %s\nlog: {level: info, format: text, syslog: %s}\n", c.profile, c.syslog)
	fmt.Fprintf(&b, "trusted: {networks: [], daemons: []}\ndns: {servers: [%q], timeout: 1s}\n", c.dns)
	// The mail hosts of the world are nobody whom a test could call out.
	actions := map[string]string{"callout-rejected": "off", "callout-unreachable": "off", "callout-pending": "off", "from-callout-rejected": "off"}
	maps.Copy(actions, c.actions)
	b.WriteString("actions:\n")
	for _, id := range slices.Sorted(maps.Keys(actions)) {
		fmt.Fprintf(&b, "  %s: %q\n", id, actions[id])
	}
	if !strings.Contains(c.more, "admin:") {
		b.WriteString("admin: {listen: \"\", socket: \"\"}\n") // one for all daemons would be in the way
	}
	if !strings.Contains(c.more, "explain:") {
		b.WriteString("explain: {listen: \"\"}\n")
	}
	if !strings.Contains(c.more, "store:") {
		b.WriteString("store: {driver: memory}\n")
	}
	b.WriteString(c.more)
	return b.String()
}

// daemon is a running milterd.
type daemon struct {
	*miltertest.Process
	listener string   // one of its addresses
	file     string   // its configuration
	listen   []string // all listeners, as the file has them
	lines    func() []string
}

// startDaemon runs milterd by itself, with the log on standard error. It needs nothing that is not in Go.
func startDaemon(t testing.TB, c config) *daemon {
	t.Helper()
	d := &daemon{
		listener: "inet:7525@" + miltertest.Loopback(),
		file:     filepath.Join(t.TempDir(), "milterd.yaml"),
	}
	c.listen = append(c.listen, strconv.Quote(d.listener))
	c.syslog = "off"
	d.configure(t, c)
	d.lines = func() []string {
		// What is wrong with the file comes first, and not as lines of the log.
		_, log, _ := strings.Cut("\n"+d.Output(), "\ntime=")
		return strings.Split(strings.TrimSpace("time="+log), "\n")
	}
	d.start(t)
	d.await(t)
	return d
}

// start runs the daemon with its file, once more if it has ended. It does not wait until that listens.
func (d *daemon) start(t testing.TB) {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "serve", "-c", d.file)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir()) // where its state may go
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	d.Process = miltertest.StartProcess(t, cmd)
}

// socketMode is that of a unix socket, whose group is Postfix's.
const socketMode fs.FileMode = 0o660

// startInSite runs milterd where the mail servers of a site expect it, with the log in the site's syslog.
func startInSite(t testing.TB, s *miltertest.Site, c config, mtas ...*miltertest.MTA) *daemon {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mtas {
		listen := strconv.Quote(m.Milter)
		if strings.HasPrefix(m.Milter, "unix:") {
			// What the README tells the owner of a Postfix to set.
			listen = fmt.Sprintf(`{socket: %q, mode: "%#o", group: postfix}`, m.Milter, uint32(socketMode))
		}
		c.listen = append(c.listen, listen)
	}
	d := &daemon{listener: mtas[0].Milter, file: filepath.Join(s.Dir, "milterd.yaml")}
	c.syslog, d.listen = "mail", c.listen
	d.configure(t, c)
	d.Process = miltertest.StartProcess(t, s.Command(bin, "serve", "-c", d.file))
	d.lines = func() []string {
		var lines []string
		for _, l := range s.Log.Lines() {
			const mail = 2 // LOG_MAIL
			if l.Tag == "milterd" && l.Facility == mail {
				lines = append(lines, l.Text)
			}
		}
		return lines
	}
	for _, m := range mtas {
		d.listener = m.Milter
		d.await(t)
	}
	return d
}

func (d *daemon) configure(t testing.TB, c config) {
	t.Helper()
	if err := os.WriteFile(d.file, []byte(c.text()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// await waits until the daemon accepts connections.
func (d *daemon) await(t testing.TB) {
	t.Helper()
	network, addr := miltertest.SplitListener(d.listener)
	miltertest.Eventually(t, "milterd listens on "+addr, func() bool {
		select {
		case <-d.Done():
			t.Fatalf("milterd ended: %v\n%s", d.Err(), d.Output())
		default:
		}
		// The daemon lets others in once it listens: root could connect before Postfix can.
		if info, err := os.Stat(addr); network == "unix" && (err != nil || info.Mode().Perm() != socketMode) {
			return false
		}
		c, err := net.Dial(network, addr)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

// stop ends the daemon in the orderly way.
func (d *daemon) stop(t testing.TB) {
	t.Helper()
	d.Signal(t, syscall.SIGTERM)
	miltertest.Eventually(t, "milterd ends after SIGTERM", func() bool {
		select {
		case <-d.Done():
			return true
		default:
			return false
		}
	})
}

// entry is one line of the daemon's log, by field.
type entry map[string]string

// entries are the lines since a mark, which is a number of lines. A line that cannot be read is a failure: it was forged,
// or cannot be searched.
func (d *daemon) entries(t testing.TB, mark int) []entry {
	t.Helper()
	var all []entry
	for _, line := range d.lines()[mark:] {
		e, err := parseEntry(line)
		if err != nil {
			t.Errorf("log line %q: %v", line, err)
			continue
		}
		all = append(all, e)
	}
	return all
}

// mark is the position of what is logged from now on.
func (d *daemon) mark() int { return len(d.lines()) }

// awaitEntry waits for a line since a mark whose fields have these values.
func (d *daemon) awaitEntry(t testing.TB, mark int, fields entry) entry {
	t.Helper()
	var found entry
	miltertest.Eventually(t, fmt.Sprintf("log line with %v", fields), func() bool {
		for _, e := range d.entries(t, mark) {
			if e.has(fields) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

func (e entry) has(fields entry) bool {
	for k, v := range fields {
		if e[k] != v {
			return false
		}
	}
	return true
}

// parseEntry reads the text format of logrus: key=value, where a value may be a quoted Go string.
func parseEntry(line string) (entry, error) {
	e := entry{}
	for rest := line; rest != ""; {
		key, value, ok := strings.Cut(rest, "=")
		if !ok || key == "" || strings.ContainsAny(key, " \"") {
			return nil, fmt.Errorf("no field at %q", rest)
		}
		raw, err := strconv.QuotedPrefix(value)
		if err == nil {
			rest = value[len(raw):]
			if raw, err = strconv.Unquote(raw); err != nil {
				return nil, err
			}
		} else {
			raw, _, _ = strings.Cut(value, " ")
			rest = value[len(raw):]
		}
		if _, twice := e[key]; twice {
			return nil, fmt.Errorf("field %s twice", key)
		}
		e[key], rest = raw, strings.TrimPrefix(rest, " ")
	}
	return e, nil
}
