package miltertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// enter is a shell script that sets up the mounts of a site and then executes the program in its arguments, which keeps
// the process id. The first argument is the site's directory.
//
// Devices are bind mounts, because a container may forbid mknod. The directory is mounted at /mnt too, because Sendmail
// accepts no key and no socket below a directory that is writable for all, such as /tmp.
const enter = `set -e
dir=$1; shift
mount --make-rprivate /
mount -t tmpfs -o mode=755 miltertest "$dir/dev"
for d in null zero full random urandom tty; do
	[ -e /dev/$d ] || continue
	: >"$dir/dev/$d"
	mount --bind /dev/$d "$dir/dev/$d"
done
ln -s /mnt/log.sock "$dir/dev/log"
ln -s /proc/self/fd "$dir/dev/fd"
mount --bind "$dir" /mnt
for f in hosts resolv.conf passwd group; do
	mount --bind "$dir/$f" "/etc/$f"
done
mount --rbind "$dir/dev" /dev
exec "$@"`

// Command returns a command that runs a program inside the site.
func (s *Site) Command(name string, args ...string) *exec.Cmd {
	c := exec.Command("/bin/sh", append([]string{"-c", enter, "enter", s.Dir, name}, args...)...)
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL, // go test kills a test that hangs, without running its cleanup
	}
	c.WaitDelay = 5 * time.Second
	return c
}

// keeper is a shell script that runs its arguments as a child process. A process that changes its user, as Postfix's
// master does, loses its Pdeathsig. The shell keeps it, and is the first process of the namespace.
const keeper = `"$@"; exit $?`

// keptCommand is Command for a program that changes its user. Signals to the process reach the shell, not the program.
func (s *Site) keptCommand(name string, args ...string) *exec.Cmd {
	return s.Command("/bin/sh", append([]string{"-c", keeper, "keeper", name}, args...)...)
}

// WriteProgram writes an executable file. No other test starts a process meanwhile: a new process has the open files of this one until it
// runs its program, and a file that is open for writing cannot be executed (ETXTBSY).
func WriteProgram(t testing.TB, path string, data []byte) {
	t.Helper()
	syscall.ForkLock.RLock()
	err := os.WriteFile(path, data, 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
}

// Process is a running program.
type Process struct {
	*exec.Cmd
	done   chan struct{}
	err    error // set before done is closed
	output *lockedBuffer
}

// StartProcess runs a command until the end of the test.
func StartProcess(t testing.TB, c *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Cmd: c, done: make(chan struct{}), output: new(lockedBuffer)}
	if c.Stdout == nil {
		c.Stdout = p.output
	}
	if c.Stderr == nil {
		c.Stderr = p.output
	}
	must(t, c.Start())
	go func() {
		p.err = c.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if out := p.Output(); t.Failed() && out != "" {
			t.Logf("output of %s:\n%.3000s", filepath.Base(c.Path), out)
		}
	})
	return p
}

// Kill kills the program and waits for its end.
func (p *Process) Kill() {
	_ = p.Process.Kill() // fails if it has ended
	<-p.done
}

// Signal sends a signal to the program.
func (p *Process) Signal(t testing.TB, sig os.Signal) {
	t.Helper()
	must(t, p.Process.Signal(sig))
}

// Done returns a channel that is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended reports whether the program has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Err returns the error of exec.Cmd.Wait. It must be called after Done is closed.
func (p *Process) Err() error { return p.err }

// Output returns what the program has written to standard output and standard error, if the command did not redirect
// them.
func (p *Process) Output() string { return p.output.String() }

type lockedBuffer struct {
	mu   sync.Mutex
	data []byte
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = append(b.data, p...)
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.data)
}
