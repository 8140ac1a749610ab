package commands

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// TestAdminSocket tests that only the owner and the group of the admin socket may use it.
func TestAdminSocket(t *testing.T) {
	t.Parallel()
	d, socket := daemontest.StartWithSocket(t, nil, "")
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode(); mode.Type() != fs.ModeSocket || mode.Perm() != daemontest.SocketMode {
		t.Errorf("mode %v, want %v", mode, daemontest.SocketMode)
	}
	// A second daemon does not replace the socket of the first.
	text, err := os.ReadFile(d.File)
	if err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(filepath.Dir(socket), "second.yaml")
	listen := "listen: [\"inet:7525@" + miltertest.Loopback() + "\"]\n"
	if err := os.WriteFile(second, []byte(listen+string(text[bytes.IndexByte(text, '\n')+1:])), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(daemontest.Binary(t), "serve", "-c", second).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another program listens on "+socket) {
		t.Errorf("second daemon with the same socket: %v\n%s", err, out)
	}
	d.MustRun(t, "status")

	if os.Geteuid() != 0 {
		if os.Getenv("MILTERD_TEST_REAL") == "1" {
			t.Fatal("MILTERD_TEST_REAL=1 needs root")
		}
		t.Skip("needs root, to run commands as other users")
	}
	const nobody = 65534
	program := copyProgram(t, filepath.Dir(socket))
	ask := func(gid uint32) daemontest.Result {
		return daemontest.CommandAs(t, program, &syscall.Credential{Uid: nobody, Gid: gid}, "status", "--socket", socket)
	}
	if r := ask(nobody); r.Code != 3 || r.Stdout != "" || r.Stderr != "milterd: "+socket+": permission denied: run the command as root or as a member of the group of the socket\n" {
		t.Errorf("nobody: exit %d, output %q, error %q", r.Code, r.Stdout, r.Stderr)
	}
	if r := ask(info.Sys().(*syscall.Stat_t).Gid); r.Code != 0 || !strings.Contains(r.Stdout, "profile") {
		t.Errorf("nobody with the group of the socket: exit %d, error %q", r.Code, r.Stderr)
	}
}

// copyProgram copies milterd to a folder that every user may enter, unlike the build cache.
func copyProgram(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(daemontest.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "milterd")
	miltertest.WriteProgram(t, path, data)
	return path
}
