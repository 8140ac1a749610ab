package packages

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// imageUser is the account in the image.
const imageUser = 8891

// TestImage unpacks the image and runs it as a container engine does, with a Postfix attached to the socket on its volume.
func TestImage(t *testing.T) {
	require(t)
	t.Parallel()
	archive := file(t, dist(t), ".oci.tar")
	newNetwork(t)
	site := miltertest.NewSite(t, daemontest.World)

	layout, bundle := filepath.Join(site.Dir, "layout"), filepath.Join(site.Dir, "bundle")
	output(t, "skopeo", "--insecure-policy", "copy", "--quiet", "oci-archive:"+archive, "oci:"+layout+":test")
	testImageConfig(t, archive)
	output(t, "umoci", "unpack", "--image", layout+":test", bundle)
	for _, dir := range []string{bundle, filepath.Join(bundle, "rootfs")} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(bundle, "rootfs")
	host, _, err := net.SplitHostPort(site.DNS.Addr)
	if err != nil {
		t.Fatal(err)
	}
	// What an engine adds.
	if err := os.WriteFile(filepath.Join(root, "etc/resolv.conf"), []byte("nameserver "+host+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	wantVersion(t, finish(t, imageCommand(root, "--version")))
	if got := finish(t, imageCommand(root, "doc", "config")); !strings.Contains(got, "listen:") {
		t.Errorf("milterd doc config: %q", got)
	}
	p := miltertest.StartProcess(t, imageCommand(root, "serve"))
	miltertest.Eventually(t, "the daemon answers", func() bool { return imageCommand(root, "status").Run() == nil })
	mta := site.Postfix(t, "smtpd_milters = unix:"+filepath.Join(root, "run/milterd/milter.sock"))
	sendWatched(t, mta)
	miltertest.Eventually(t, "the decision is kept", func() bool {
		out, err := imageCommand(root, "log", "--json").Output()
		return err == nil && strings.Contains(string(out), `"helo-bare-ip"`)
	})
	if !strings.Contains(p.Output(), "+09:00") {
		t.Error("the daemon does not know the time zone in TZ")
	}
	authorities, err := os.ReadFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"))
	if n := strings.Count(string(authorities), "BEGIN CERTIFICATE"); err != nil || n < 50 {
		t.Errorf("%d certificate authorities, %v", n, err)
	}
}

// imageCommand returns a command that runs the program of the image as its account, and sees nothing but the image.
func imageCommand(root string, args ...string) *exec.Cmd {
	cmd := exec.Command("/usr/sbin/milterd", args...)
	cmd.Env = []string{"PATH=/usr/sbin", "TZ=Asia/Tokyo"}
	cmd.Dir = "/var/lib/milterd"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot: root, Credential: &syscall.Credential{Uid: imageUser, Gid: imageUser}, Pdeathsig: syscall.SIGKILL,
	}
	return cmd
}

// testImageConfig tests how an engine runs the image.
func testImageConfig(t *testing.T, archive string) {
	var image struct {
		Architecture string
		Config       struct {
			User            string
			Entrypoint, Cmd []string
			Volumes         map[string]any
		}
	}
	text := output(t, "skopeo", "inspect", "--config", "oci-archive:"+archive)
	if err := json.Unmarshal([]byte(text), &image); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	c := image.Config
	_, state := c.Volumes["/var/lib/milterd"]
	_, sockets := c.Volumes["/run/milterd"]
	if image.Architecture != goarch || c.User != "8891:8891" || len(c.Entrypoint) != 1 || len(c.Cmd) != 1 || c.Cmd[0] != "serve" || !state || !sockets {
		t.Errorf("configuration of the image: %s", text)
	}
}
