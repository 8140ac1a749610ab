// Package sockets opens the sockets that mail servers and commands connect to: those that systemd passed, or those of the
// configuration, with their mode and group. It says what is wrong with one that cannot be opened, and with one that Postfix cannot
// connect to (postfix.go). Start reading at Open.
package sockets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/cmd/milterd/internal/config"
)

// Open returns the sockets that systemd passed, or else those of the configuration. It warns of a default one
// that cannot be opened, if another one can. place returns the place of a socket in the configuration, for the error.
func Open(wanted []config.Listener, place func(config.Listener) config.Problem, log *logrus.Logger) ([]net.Listener, error) {
	lns, err := passed()
	if err != nil {
		return nil, fmt.Errorf("sockets passed by systemd: %w", err)
	}
	if len(lns) > 0 {
		for _, w := range unused(wanted, lns) {
			log.WithField("listen", w.String()).Warn(listenUnused)
		}
		return lns, nil
	}
	for _, w := range wanted {
		ln, err := Listen(w)
		switch {
		case err == nil:
			lns = append(lns, ln)
		case w.Given:
			closeAll(lns)
			return nil, place(w).Saying("cannot listen on %s: %s", w, Fault(err))
		default:
			log.WithField("listen", w.String()).WithField("error", Fault(err)).Warn("cannot listen")
		}
	}
	if len(lns) == 0 {
		return nil, errors.New("no socket to listen on")
	}
	return lns, nil
}

// passed returns the sockets that systemd passed.
func passed() ([]net.Listener, error) {
	lns, err := activation.Listeners()
	if err != nil {
		return nil, err
	}
	if i := slices.Index(lns, nil); i >= 0 {
		return nil, fmt.Errorf("number %d is not a stream socket; write each as ListenStream= in milterd.socket", i+1)
	}
	return lns, nil
}

const listenUnused = "listen is not used, because systemd listens for the daemon: write it to milterd.socket (systemctl edit milterd.socket), " +
	"or disable that (systemctl disable --now milterd.socket)"

// unused returns the configured sockets at which none of those passed by systemd listens.
func unused(wanted []config.Listener, passed []net.Listener) []config.Listener {
	return slices.DeleteFunc(slices.Clone(wanted), func(w config.Listener) bool {
		return !w.Given || slices.ContainsFunc(passed, func(ln net.Listener) bool { return ln.Addr().String() == w.Address })
	})
}

func closeAll(lns []net.Listener) {
	for _, ln := range lns {
		_ = ln.Close()
	}
}

// Listen opens a socket.
func Listen(w config.Listener) (net.Listener, error) {
	if w.Network != "unix" {
		return net.Listen(w.Network, w.Address)
	}
	if err := removeStale(w.Address); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", w.Address)
	if err != nil {
		return nil, err
	}
	if err := setPermissions(w); err != nil {
		_ = ln.Close() // removes the socket
		return nil, err
	}
	return ln, nil
}

// removeStale removes a socket on which no program listens, as a killed daemon leaves it.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
	}
	if err := inUse(path, err); err != nil {
		return err
	}
	return os.Remove(path)
}

// inUse returns why a socket must stay, by the error of a connection to it, or nil if no program listens on it.
func inUse(path string, err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("another program listens on %s", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s is the socket of another user; remove it if no program listens on it (ss -xlp shows it)", path)
	}
	return err
}

// setPermissions sets group and mode of a socket.
func setPermissions(w config.Listener) error {
	if w.Group != "" {
		gid, err := groupID(w.Group)
		if err != nil {
			return err
		}
		if err := os.Chown(w.Address, -1, gid); err != nil {
			return chownFault(w.Group, err)
		}
	}
	return os.Chmod(w.Address, cmp.Or(w.Mode, defaultMode))
}

// chownFault returns the error of a socket that cannot be given to a group.
func chownFault(group string, err error) error {
	if errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("the daemon may not give the socket to the group %q, as it is not a member; write SupplementaryGroups=%s below [Service] "+
			"(systemctl edit milterd)", group, group)
	}
	return checks.WithoutCall(err)
}

// defaultMode is the permissions of a unix socket if the configuration gives none.
const defaultMode fs.FileMode = 0o660

// Fault returns why a socket cannot be opened and what to do, without the words of package net.
func Fault(err error) string {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program uses the port; stop it (ss -tlnp shows it), or choose another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "no interface of this machine has the address; write one that has (ip address shows them)"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "permission denied; choose a port from 1024 on or a folder that the daemon may write, or start it as root"
	case errors.Is(err, fs.ErrNotExist):
		return noFolder
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %q has no address here; write an address", dns.Name)
	case errors.Is(err, syscall.ENOTDIR):
		return belowFile
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		return e.Err.Error()
	}
	return checks.WithoutCall(err).Error()
}

const noFolder = "the folder of the socket does not exist; create it, or let systemd do so (RuntimeDirectory=)"

const belowFile = "a part of the path is a file, not a folder; correct the path"

// WithoutFolder returns what to do about a unix socket whose folder does not exist or is a file, or "". Of the folders that
// systemd creates, it knows that of the unit only.
func WithoutFolder(l config.Listener) string {
	const ofUnit = "/run/milterd"
	folder := filepath.Dir(l.Address)
	if l.Network != "unix" || folder == ofUnit {
		return ""
	}
	info, err := os.Stat(folder)
	switch {
	case err == nil && !info.IsDir(), errors.Is(err, syscall.ENOTDIR):
		return belowFile
	case err != nil:
		return noFolder
	}
	return ""
}

// Check returns why this machine cannot have a socket: it does not know the group, or the name has no address. A name server that does
// not answer is no error.
func Check(ctx context.Context, l config.Listener) error {
	return check(ctx, l, net.DefaultResolver.LookupHost)
}

func check(ctx context.Context, l config.Listener, lookup func(ctx context.Context, host string) ([]string, error)) error {
	if l.Network != "unix" {
		const timeout = 5 * time.Second
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		host, _, _ := net.SplitHostPort(l.Address)
		_, err := lookup(ctx, host)
		if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
			return errors.New(Fault(err))
		}
		return nil
	}
	if l.Group == "" {
		return nil
	}
	_, err := groupID(l.Group)
	return err
}

// groupID returns the number of a group, which may be given by its number.
func groupID(name string) (int, error) {
	if gid, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(gid), nil
	}
	g, err := user.LookupGroup(name)
	if _, unknown := errors.AsType[user.UnknownGroupError](err); unknown {
		return 0, fmt.Errorf("there is no group %q on this machine; write one that has the mail server as a member", name)
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}
