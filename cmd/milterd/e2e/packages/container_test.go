package packages

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"milterd/milter/miltertest"
)

// container is a system of its own: the files of the running system, and what the test changes of them. Programs run in it
// one after the other, or under a systemd once it has been booted.
type container struct {
	dir     string
	systemd int // process ID
}

// newContainer makes a container in which nothing is enabled. resolver is the address of its name server.
func newContainer(t *testing.T, resolver string) *container {
	t.Helper()
	dir, err := os.MkdirTemp("", "milterd-container-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, d := range []string{"changed", "work", "root"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := &container{dir: dir}
	c.run(t, "sh", "-c", `
		rm -f /usr/sbin/policy-rc.d /etc/machine-id && : >/etc/machine-id
		rm -rf /etc/systemd/system/*.wants /etc/systemd/system/*.service /etc/milterd /var/lib/milterd
		rm -f /etc/resolv.conf && echo "nameserver $1" >/etc/resolv.conf
		for unit in getty.target systemd-logind.service systemd-update-utmp-runlevel.service; do
			ln -sf /dev/null /etc/systemd/system/$unit
		done
		# Manual pages are not looked up.
		rm -f /var/lib/dpkg/info/man-db.triggers && sed -i '/ man-db/d' /var/lib/dpkg/triggers/File`, "sh", resolver)
	return c
}

// enter is a shell script that mounts the container and executes its arguments in there. Devices are bind mounts, because a
// sandbox may forbid mknod. Control groups are the container's own.
const enter = `set -e
cd "$1"; shift
mount --make-rprivate /
mount -t overlay overlay -o lowerdir=/,upperdir=changed,workdir=work root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs none sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
for d in run dev tmp; do mount -t tmpfs -o mode=755 none $d; done
chmod 1777 tmp
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs none dev/shm
for d in null zero full random urandom tty; do : >dev/$d; mount --bind /dev/$d dev/$d; done
exec chroot . env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive container=test "$@"`

// command returns a command that runs a program in the container, which ends with all that it starts.
func (c *container) command(args ...string) *exec.Cmd {
	if c.systemd != 0 {
		pid := strconv.Itoa(c.systemd)
		return exec.Command("nsenter", append([]string{"--target", pid, "--mount", "--pid", "--cgroup", "--root", "--wdns=/",
			"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}, args...)...)
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", enter, "enter", c.dir}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWCGROUP,
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd
}

// run runs a program, which must succeed, and returns what it prints.
func (c *container) run(t *testing.T, args ...string) string {
	t.Helper()
	return finish(t, c.command(args...))
}

// fails runs a program, which must not succeed, and returns what it prints.
func (c *container) fails(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.command(args...).CombinedOutput()
	if err == nil {
		t.Errorf("%v succeeded: %s", args, out)
	}
	return string(out)
}

// boot starts systemd until the end of the test, and waits until it has started what is enabled.
func (c *container) boot(t *testing.T) {
	t.Helper()
	p := miltertest.StartProcess(t, c.command("/lib/systemd/systemd", "--unit=multi-user.target", "--log-target=console"))
	// The shell that mounts the container becomes systemd.
	miltertest.Eventually(t, "systemd starts", func() bool {
		if p.Ended() {
			t.Fatalf("systemd ended: %v\n%s", p.Err(), p.Output())
		}
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.Process.Pid))
		return err == nil && strings.TrimSpace(string(name)) == "systemd"
	})
	c.systemd = p.Process.Pid
	var state string
	miltertest.Eventually(t, "the container is up", func() bool {
		out, _ := c.command("systemctl", "is-system-running").Output()
		state = strings.TrimSpace(string(out))
		return state == "running" || state == "degraded"
	})
	t.Logf("systemd is %s", state)
}

// install copies a package into the container and installs it.
func (c *container) install(t *testing.T, deb string) {
	t.Helper()
	cmd := c.command("sh", "-c", "cat >/var/cache/package.deb && dpkg --force-unsafe-io -i /var/cache/package.deb")
	f, err := os.Open(deb)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdin = f
	t.Logf("dpkg: %s", finish(t, cmd))
}
