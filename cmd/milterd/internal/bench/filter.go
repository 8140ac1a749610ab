package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	gomilter "github.com/emersion/go-milter"
	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/milter"
)

// filter is a filter that runs in a process of its own.
type filter struct {
	name   string
	socket string
	cmd    *exec.Cmd
	said   head
}

// startPatience is how long a filter may take to listen, and to end.
const startPatience = 15 * time.Second

// start runs a filter that listens on a socket in a folder, and waits until it does.
func start(name, folder, program string, args ...string) (*filter, error) {
	f := &filter{name: name, socket: filepath.Join(folder, name+".sock"), cmd: exec.Command(program, args...)}
	f.cmd.Stdout, f.cmd.Stderr = &f.said, &f.said
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := f.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(startPatience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("unix", f.socket); err == nil {
			return f, c.Close()
		}
	}
	f.stop()
	return nil, fmt.Errorf("%s does not listen on %s; it said:\n%s", name, f.socket, f.said.Bytes())
}

// stop ends the filter.
func (f *filter) stop() {
	_ = f.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(startPatience, func() { _ = f.cmd.Process.Kill() })
	defer kill.Stop()
	_ = f.cmd.Wait()
}

// ticks is how many of the kernel's clock ticks /proc has in a second, on all of Linux's architectures.
const ticks = 100

// cpu is the processor time that the filter has used so far, in seconds.
func (f *filter) cpu() (float64, error) {
	text, err := f.proc("stat")
	if err != nil {
		return 0, err
	}
	// The name of the program, which may hold anything, ends with the last parenthesis; utime and stime are fields 14 and 15.
	words := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	var sum float64
	for _, w := range words[11:13] {
		n, err := strconv.ParseFloat(w, 64)
		if err != nil {
			return 0, err
		}
		sum += n / ticks
	}
	return sum, nil
}

// rss is the memory that the filter has in use, in octets.
func (f *filter) rss() (int64, error) {
	text, err := f.proc("statm")
	if err != nil {
		return 0, err
	}
	words := strings.Fields(text)
	if len(words) < 2 {
		return 0, errors.New("odd /proc/PID/statm")
	}
	pages, err := strconv.ParseInt(words[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

func (f *filter) proc(file string) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", f.cmd.Process.Pid, file))
	return string(text), err
}

// head keeps the beginning of what is written to it: a log can be long.
type head struct{ bytes.Buffer }

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	h.Buffer.Write(p[:min(len(p), max(0, 4096-h.Len()))])
	return len(p), nil
}

// config is that of milterd in the benchmark: the defaults, with a DNS list and without pages.
const config = `hostname: mx.site.example
local_domains: [site.example]
listen: unix:%s
max_connections: 20000
dns: {servers: ["%s"]}
store: {path: "%s"}
admin: {listen: "", socket: ""}
explain: {listen: ""}
log: {syslog: off}
checks: {dnsbl: {zones: [{zone: %s, codes: ["127.0.0.2"]}]}}
`

// startMilterd runs a built milterd.
func startMilterd(program, folder, dnsServer string) (*filter, error) {
	name := filepath.Base(program)
	file := filepath.Join(folder, name+".yaml")
	store := filepath.Join(folder, name)
	text := fmt.Sprintf(config, filepath.Join(folder, name+".sock"), dnsServer, store, listZone)
	if err := errors.Join(os.Mkdir(store, 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		return nil, err
	}
	return start(name, folder, program, "serve", "-c", file)
}

// yardsticks are filters that this program is itself, by name: the least that one like them costs.
var yardsticks = map[string]func(net.Listener) error{"go-milter": serveFloor, "driver": serveDriver}

// startYardstick runs this program as one of them.
func startYardstick(name, folder string) (*filter, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(name, folder, self, name, filepath.Join(folder, name+".sock"))
}

// serveYardstick is what it does then.
func serveYardstick(name, socket string) error {
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	return yardsticks[name](ln)
}

// serveFloor is what a Go filter costs that takes go-milter as it is: its own server, which lets everything pass.
func serveFloor(ln net.Listener) error {
	srv := gomilter.Server{NewMilter: func() gomilter.Milter { return gomilter.NoOpMilter{} }}
	return srv.Serve(ln)
}

// serveDriver is what is left of milterd without DNS, store, log, records and every check but one, which says nothing. What milterd
// costs beyond that is what it does for the site.
func serveDriver(ln net.Listener) error {
	reason := &checks.Reason{ID: "none"}
	p, err := checks.New([]checks.Instance{{
		Info:  checks.Info{Name: "silent", Stages: []checks.Stage{checks.MailFrom, checks.EndOfHeader}, Reasons: []*checks.Reason{reason}},
		Check: silent{},
	}}, checks.Options{Actions: map[string]checks.Action{reason.ID: checks.Watch}, ReplyAt: checks.RcptTo, Budget: startPatience})
	if err != nil {
		return err
	}
	srv := milter.Server{
		Pipeline: func() *checks.Pipeline { return p }, Journal: silent{}, Log: logrus.NewEntry(logrus.New()),
		NewID: func() string { return "" },
	}
	return srv.Serve(ln)
}

// silent is a check and a journal that say nothing.
type silent struct{}

// Check implements checks.Check.
func (silent) Check(context.Context, *checks.Request) ([]checks.Verdict, error) { return nil, nil }

// Decided implements milter.Journal.
func (silent) Decided(*checks.Request, checks.Decision) {}

// Accepted implements milter.Journal.
func (silent) Accepted(*checks.Request) {}
