package main

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// programFile writes a script that runs the test binary as milterd, and returns its path. It stands for bin/milterd.
func programFile(t *testing.T) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "milterd")
	script := fmt.Sprintf("#!/bin/sh\nexec env %s=1 %s \"$@\"\n", asProgram, program)
	miltertest.WriteProgram(t, path, []byte(script))
	return path
}

// runMake runs make in the root of the repository and returns its output.
func runMake(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		if os.Getenv("MILTERD_TEST_REAL") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.Command("make", append([]string{"--no-print-directory", "-C", root}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

// installed returns the files below a folder, each as "rw-r--r-- PATH", in lexical order.
func installed(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, dir)
		if !d.IsDir() {
			list = append(list, info.Mode().Perm().String()[1:]+" "+name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestMakeInstall(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"/usr/local", "/opt/milterd"} {
		t.Run(prefix, func(t *testing.T) {
			t.Parallel()
			dir, program := t.TempDir(), programFile(t)
			vars := []string{"BIN=" + program, "DESTDIR=" + dir}
			if prefix != "/usr/local" { // the default
				vars = append(vars, "PREFIX="+prefix)
			}
			runMake(t, append(vars, "install")...)
			want := []string{
				"rw-r--r-- /etc/systemd/system/milterd-report.service",
				"rw-r--r-- /etc/systemd/system/milterd-report.timer",
				"rw-r--r-- /etc/systemd/system/milterd.service",
				"rw-r--r-- /etc/systemd/system/milterd.socket",
				"rw-r--r-- /etc/sysusers.d/milterd.conf",
				"rwxr-xr-x " + prefix + "/sbin/milterd",
				"rw-r--r-- " + prefix + "/share/bash-completion/completions/milterd",
				"rw-r--r-- " + prefix + "/share/man/man1/milterd-replay.1",
				"rw-r--r-- " + prefix + "/share/man/man1/milterd-simulate.1",
				"rw-r--r-- " + prefix + "/share/man/man5/milterd.yaml.5",
				"rw-r--r-- " + prefix + "/share/man/man7/milterd-reasons.7",
				"rw-r--r-- " + prefix + "/share/man/man8/milterd-operate.8",
				"rw-r--r-- " + prefix + "/share/man/man8/milterd.8",
			}
			if got := installed(t, dir); !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if _, err := os.Stat(dir + "/etc/milterd"); err != nil {
				t.Errorf("folder of the configuration: %v", err)
			}
			unit := readFile(t, dir+"/etc/systemd/system/milterd.service")
			if want := "\nExecStart=" + prefix + "/sbin/milterd serve -c /etc/milterd/milterd.yaml\n"; !strings.Contains(unit, want) {
				t.Errorf("the unit does not have the line %q:\n%s", want, unit)
			}

			writeFile(t, dir+"/etc/milterd/milterd.yaml", "profile: watch\n")
			writeFile(t, dir+prefix+"/share/man/man1/milter.1", "of another program")
			runMake(t, append(vars, "install")...)
			runMake(t, append(vars, "uninstall")...)
			want = []string{"rw-r--r-- /etc/milterd/milterd.yaml", "rw-r--r-- " + prefix + "/share/man/man1/milter.1"}
			if got := installed(t, dir); !slices.Equal(got, want) {
				t.Errorf("after make uninstall: %q, want %q", got, want)
			}
		})
	}
}

// TestDemoWithAnyDNS tests that the session of "make run" has the same replies whatever the DNS answers.
func TestDemoWithAnyDNS(t *testing.T) {
	t.Parallel()
	unused := freePorts(t, 1)[0]
	for name, server := range map[string]string{
		"client in order": dnstest.Start(t, docsZone).Addr,
		"no name exists":  dnstest.Start(t, "").Addr,
		"no server":       fmt.Sprintf("127.0.0.1:%d", unused),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := filepath.Join(t.TempDir(), "milterd.yaml")
			writeFile(t, config, fmt.Sprintf("dns: {servers: [%q]}\n", server))
			printed(t, "simulate", "-c", config, root+"/examples/demo.session")
		})
	}
}

// TestMakeRun runs "make run" in a network of its own, because the defaults have fixed ports, and ends it by Ctrl-C.
func TestMakeRun(t *testing.T) {
	t.Parallel()
	requirePrograms(t, "make")
	inThread(func() {
		enterPrivateNetwork(t)
		mountPrivateRun(t) // other tests install packages meanwhile, which make /run/milterd
		testMakeRun(t)
	})
}

// inThread runs f in a thread that goes into no other goroutine afterwards, as f may move it into namespaces. The thread does not end:
// a program with Pdeathsig is killed when the thread that started it ends, and another test may have started one before.
func inThread(f func()) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer func() { // also after t.Fatal
			if v := recover(); v != nil {
				panic(v)
			}
			close(done)
			select {}
		}()
		f()
	}()
	<-done
}

func testMakeRun(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	cmd, p := startDemo(t, dir)
	for _, want := range runWants(t) {
		if !strings.Contains(p.Output(), want) {
			t.Errorf("no %q in the output", want)
		}
	}
	if file := defaultConfigFile; strings.Contains(p.Output(), file) {
		t.Errorf("the demonstration looks for %s, which may differ from the defaults", file)
	}
	pages := regexp.MustCompile(`http://(127\.0\.0\.1:\d+)(/\S*)`).FindAllStringSubmatch(p.Output(), -1)
	if len(pages) != 2 {
		t.Errorf("%d links, want one for the operator and one for senders", len(pages))
	}
	for _, m := range pages {
		if reply := get(t, m[1], m[2]); !strings.HasPrefix(reply, "HTTP/1.0 200 ") || !strings.Contains(reply, "<title>") {
			t.Errorf("%s: got %.200s", m[0], reply)
		}
	}

	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	miltertest.Eventually(t, "Ctrl-C ends everything", func() bool { return syscall.Kill(-cmd.Process.Pid, 0) != nil })
	leftNothing := func() {
		t.Helper()
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left in the temporary folder: %v, %v", left, err)
		}
		if left, err := os.ReadDir("/run"); err != nil || len(left) > 0 {
			t.Errorf("left in /run: %v, %v", left, err)
		}
	}
	leftNothing()

	// The port of the operator's pages is taken, and the daemon dies.
	other, err := net.Listen("tcp", "127.0.0.1:8893")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	cmd, p = startDemo(t, dir)
	if !strings.Contains(p.Output(), "none, as another program uses port 8893") || strings.Contains(p.Output(), "http://127.0.0.1:8893/") {
		t.Errorf("with port 8893 taken: %s", p.Output())
	}
	m := regexp.MustCompile(`as process (\d+)\.`).FindStringSubmatch(p.Output())
	if m == nil {
		t.Fatalf("no process is named: %s", p.Output())
	}
	pid, _ := strconv.Atoi(m[1])
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	miltertest.Eventually(t, "the demonstration ends with its daemon", p.Ended)
	if !strings.Contains(p.Output(), "milterd has ended without being asked to (exit status 137)") || p.Err() == nil {
		t.Errorf("after the death of the daemon: %v, %s", p.Err(), p.Output())
	}
	miltertest.Eventually(t, "nothing runs on", func() bool { return syscall.Kill(-cmd.Process.Pid, 0) != nil })
	leftNothing()
	if t.Failed() {
		t.Log(p.Output())
	}
}

// startDemo starts "make run" and waits until it stays up.
func startDemo(t *testing.T, dir string) (*exec.Cmd, *miltertest.Process) {
	t.Helper()
	cmd := exec.Command("make", "-C", root, "-o", "build", "run", "BIN="+programFile(t))
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := miltertest.StartProcess(t, cmd)
	miltertest.Eventually(t, "make run says that it stays up", func() bool { return strings.Contains(p.Output(), "More sessions:") })
	return cmd, p
}

// runWants returns what "make run" prints at least: refusals with their log lines, and the lines that attach a mail server.
func runWants(t *testing.T) []string {
	t.Helper()
	list := []string{
		"S: 501 5.5.2 HELO 192.0.2.9 is an IP address", "S: 550 5.6.0 the message has 2 From fields",
		"reason=helo-bare-ip action=reject", "reason=field-duplicate action=reject",
	}
	for _, name := range []string{"postfix-main.cf", "sendmail.mc"} {
		for line := range strings.Lines(readFile(t, root+"/examples/"+name)) {
			line = strings.TrimSuffix(strings.TrimSpace(line), "dnl")
			if line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "dnl") {
				list = append(list, line)
			}
		}
	}
	return list
}

// mountPrivateRun gives the calling thread an empty /run.
func mountPrivateRun(t *testing.T) {
	t.Helper()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatalf("a private /run needs root: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
}

// enterPrivateNetwork moves the calling thread into a new network that has only loopback.
func enterPrivateNetwork(t *testing.T) {
	t.Helper()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("a private network needs root: %v", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, loopback); err != nil {
		t.Fatal(err)
	}
}

// get requests a page from the network of the calling thread: net/http would connect from another one.
func get(t *testing.T, addr, path string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", path, addr)
	reply, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(reply)
}

// TestPackagedReadme tests that the links of the README in a package, which has the examples beside it, lead to a file there.
func TestPackagedReadme(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("cmd/milterd/package/readme")
	cmd.Dir, cmd.Stdin = root, strings.NewReader(readFile(t, root+"/README.md"))
	readme, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`\]\(([^)]*)\)`).FindAllSubmatch(readme, -1)
	for _, m := range links {
		link := string(m[1])
		if _, err := os.Stat(root + "/" + link); err != nil || link != "examples" && !strings.HasPrefix(link, "examples/") {
			t.Errorf("a dead link to %s", link)
		}
	}
	if len(links) == 0 || !strings.Contains(string(readme), "Operating (`milterd doc operating`)") {
		t.Errorf("%d links, got %s", len(links), readme)
	}
}
