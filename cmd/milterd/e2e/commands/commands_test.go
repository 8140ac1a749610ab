// Package commands tests the commands that ask a running daemon over its admin socket.
package commands

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

func TestMain(m *testing.M) { daemontest.Main(m) }

// startWithPages starts a daemon whose pages have the password secret, and returns their address.
func startWithPages(t *testing.T, profile string) (d *daemontest.Daemon, pages string) {
	t.Helper()
	pages = miltertest.Loopback() + ":8893"
	return daemontest.Start(t, daemontest.Config{
		DNS: dnstest.Start(t, daemontest.World).Addr, Profile: profile,
		Extra: fmt.Sprintf("admin: {listen: %q, socket: %q, password: secret}\n", pages, filepath.Join(daemontest.SocketDir(t), "admin.sock")),
	}), pages
}

// TestWrongCommands tests that a wrong command line fails with a message and changes nothing.
func TestWrongCommands(t *testing.T) {
	t.Parallel()
	d, _ := daemontest.StartWithSocket(t, nil, "")
	for line, want := range map[string]string{
		"greylist":                            "greylist: want one of the commands allow, forget, list, show",
		"greylist lst":                        `unknown command "lst"; did you mean list?`,
		"greylist list a b":                   "want at most one argument",
		"greylist list --max x":               `--max: "x" is not a whole number`,
		"greylist show":                       "greylist show WHAT",
		"greylist allow":                      "greylist allow CLIENT",
		"greylist allow 192.0.2.0/20":         "a client has a /24",
		"greylist allow nonsense":             `"nonsense" is not an address, network or domain`,
		"greylist forget":                     "greylist forget WHAT",
		"greylist forget ":                    "nothing is selected",
		"block":                               "block: want one of the commands add, list, remove",
		"block ad 192.0.2.9":                  `unknown command "ad"; did you mean add?`,
		"block add":                           "block add CLIENT",
		"block add 16.0.0.0/7":                "16.0.0.0/7 is too wide to block",
		"block add mail.example.net":          `"mail.example.net" is no address`,
		"block add 192.0.2.9 --for soon":      `--for: "soon" is not a duration`,
		"block add 192.0.2.9 --for 0s":        "want a duration over 0",
		"block add 192.0.2.9 --whi x":         "unknown flag: --whi; did you mean --why?",
		"block remove":                        "block remove CLIENT",
		"block remove 2001:db8::/129":         "is no address and no network",
		"block list all":                      `want no argument: milterd block list`,
		"status now":                          `want no argument: milterd status`,
		"report":                              "report: want one of the commands action, ",
		"report retries":                      `unknown command "retries"`,
		"report retry --socket /nowhere/sock": "no daemon answers at /nowhere/sock",
	} {
		words := strings.Split(line, " ")
		code := 2
		if strings.Contains(line, "--socket") {
			code = 3
		}
		if r := d.Command(t, words...); r.Code != code || r.Stdout != "" || !strings.HasPrefix(r.Stderr, "milterd: ") || !strings.Contains(r.Stderr, want) {
			t.Errorf("milterd %s: exit %d, output %q, error %q; want %q", line, r.Code, r.Stdout, r.Stderr, want)
		}
	}
	if out := d.MustRun(t, "block", "list"); out != "no blocks\n" {
		t.Errorf("after wrong commands: %s", out)
	}
}

// TestCommandsWithoutDaemon runs commands when the daemon has ended, was killed, or has no socket.
func TestCommandsWithoutDaemon(t *testing.T) {
	t.Parallel()
	commands := [][]string{{"status"}, {"greylist", "list"}, {"block", "add", "192.0.2.9", "--json"}, {"report", "retry"}}
	for name, end := range map[string]func(*daemontest.Daemon){
		"ended":  func(d *daemontest.Daemon) { d.Stop(t) },
		"killed": func(d *daemontest.Daemon) { d.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			d, socket := daemontest.StartWithSocket(t, nil, "")
			d.MustRun(t, "status")
			end(d)
			_, err := os.Lstat(socket)
			if gone := errors.Is(err, fs.ErrNotExist); gone != (name == "ended") {
				t.Errorf("socket: %v", err)
			}
			for _, words := range commands {
				r := d.Command(t, words...)
				if r.Code != 3 || r.Stdout != "" || r.Stderr != "milterd: no daemon answers at "+socket+": is milterd running (systemctl status milterd)? If its admin.socket is another one, name it with --socket, or the configuration with -c\n" {
					t.Errorf("milterd %v: exit %d, output %q, error %q", words, r.Code, r.Stdout, r.Stderr)
				}
			}
		})
	}
	t.Run("without a socket", func(t *testing.T) {
		d := daemontest.Start(t, daemontest.Config{DNS: dnstest.Start(t, daemontest.World).Addr, Profile: "safe"})
		if r := d.Command(t, "status"); r.Code != 3 || !strings.Contains(r.Stderr, "admin.socket") || strings.Contains(r.Stderr, "dial") {
			t.Errorf("exit %d, error %q", r.Code, r.Stderr)
		}
	})
}
