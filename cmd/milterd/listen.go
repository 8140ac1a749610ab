package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/sirupsen/logrus"

	"milterd/cmd/milterd/internal/config"
)

// listeners are the sockets that systemd hands over, or else those of the configuration. One that the operator did not
// ask for may fail, with a warning, as long as another one is left.
func listeners(wanted []config.Listener, log *logrus.Logger) ([]net.Listener, error) {
	lns, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("sockets of systemd: %w", err)
	}
	if len(lns) > 0 {
		return lns, nil
	}
	for _, w := range wanted {
		ln, err := listen(w)
		switch {
		case err == nil:
			lns = append(lns, ln)
		case w.Given:
			closeAll(lns)
			return nil, fmt.Errorf("cannot listen on %s: %w", w, err)
		default:
			log.WithError(err).WithField("listen", w.String()).Warn("cannot listen there")
		}
	}
	if len(lns) == 0 {
		return nil, errors.New("no socket to listen on")
	}
	return lns, nil
}

func closeAll(lns []net.Listener) {
	for _, ln := range lns {
		_ = ln.Close()
	}
}

func listen(w config.Listener) (net.Listener, error) {
	if w.Network != "unix" {
		return net.Listen(w.Network, w.Address)
	}
	if err := removeStale(w.Address); err != nil {
		return nil, err
	}
	// Nobody may connect before mode and group are set.
	old := syscall.Umask(0o177)
	ln, err := net.Listen(w.Network, w.Address)
	syscall.Umask(old)
	if err != nil {
		return nil, err
	}
	if err := permit(w); err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}

// removeStale removes a socket that nobody listens on any more, as a killed daemon leaves it.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and not a socket", path)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("another program listens on %s", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// permit sets group and mode of a new socket.
func permit(w config.Listener) error {
	if w.Group != "" {
		gid, err := groupID(w.Group)
		if err != nil {
			return err
		}
		if err := os.Chown(w.Address, -1, gid); err != nil {
			return err
		}
	}
	mode := w.Mode
	if mode == 0 {
		mode = 0o660
	}
	return os.Chmod(w.Address, mode)
}

func groupID(name string) (int, error) {
	if gid, err := strconv.Atoi(name); err == nil {
		return gid, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}
