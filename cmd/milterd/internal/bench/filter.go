package main

import (
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
)

// filter is a process that listens on a unix socket: a filter, or the Redis of several daemons.
type filter struct {
	name   string
	socket string
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has ended
	output head          // complete when the process has ended
}

// startTimeout is the time that a filter has to start, and to stop.
const startTimeout = 15 * time.Second

// start runs a filter and waits until it listens on the socket NAME.sock in folder.
func start(name, folder, program string, args ...string) (*filter, error) {
	f := &filter{name: name, socket: filepath.Join(folder, name+".sock"), cmd: exec.Command(program, args...), ended: make(chan struct{})}
	f.cmd.Stdout, f.cmd.Stderr = &f.output, &f.output
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := f.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = f.cmd.Wait()
		close(f.ended)
	}()
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); {
		if c, err := net.Dial("unix", f.socket); err == nil {
			return f, c.Close()
		}
		select {
		case <-f.ended:
			return nil, fmt.Errorf("%s ended at its start; its output:\n%s", name, f.output.text)
		case <-time.After(10 * time.Millisecond):
		}
	}
	f.stop()
	return nil, fmt.Errorf("%s does not listen on %s; its output:\n%s", name, f.socket, f.output.text)
}

// stop stops the filter.
func (f *filter) stop() {
	_ = f.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(startTimeout, func() { _ = f.cmd.Process.Kill() })
	defer kill.Stop()
	<-f.ended
}

// ticksPerSecond is the unit of times in /proc, on all architectures of Linux.
const ticksPerSecond = 100

// cpu returns the processor time that the filter has used so far, in seconds.
func (f *filter) cpu() (float64, error) {
	text, err := f.proc("stat")
	if err != nil {
		return 0, err
	}
	// Fields 14 and 15 are utime and stime. Field 2, the name of the program, may have spaces; it ends with the last parenthesis.
	words := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	var sum float64
	for _, w := range words[11:13] {
		n, err := strconv.ParseFloat(w, 64)
		if err != nil {
			return 0, err
		}
		sum += n / ticksPerSecond
	}
	return sum, nil
}

// rss returns the resident set size of the filter in bytes.
func (f *filter) rss() (int64, error) {
	text, err := f.proc("statm")
	if err != nil {
		return 0, err
	}
	words := strings.Fields(text)
	if len(words) < 2 {
		return 0, errors.New("/proc/PID/statm has too few fields")
	}
	pages, err := strconv.ParseInt(words[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

func (f *filter) proc(file string) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", f.cmd.Process.Pid, file))
	return string(text), err
}

// head keeps the first 4096 bytes written to it.
type head struct{ text []byte }

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	h.text = append(h.text, p[:min(len(p), 4096-len(h.text))]...)
	return len(p), nil
}

// config is the configuration of milterd: the defaults, with a DNS list and without pages.
const config = `hostname: mx.site.example
local_domains: [site.example]
listen: unix:%s
max_connections: 20000
dns: {servers: ["%s"]}
admin: {listen: "", socket: ""}
explain: {listen: ""}
log: {syslog: off}
checks:
  dnsbl: {zones: [{zone: %s, codes: ["127.0.0.2"]}]}
`

// noAuth is added to the configuration for milterd without DKIM, DMARC and the checks of the author. It continues the key checks.
const noAuth = `  dkim: {signatures: 0}
actions: {from-multiple: off, from-no-domain: off, from-encoded: off, from-display: off}
`

// configOf returns the configuration of milterd. The text more is added at its end. Without a store in it, the store is in a folder.
func configOf(socket, dnsServer, folder, more string) string {
	text := fmt.Sprintf(config, socket, dnsServer, listZone) + more
	if !strings.Contains(more, "store:") {
		text = fmt.Sprintf("store: {path: %q}\n", folder) + text
	}
	return text
}

// startMilterd starts the program milterd. more is added to the configuration, see configOf.
func startMilterd(name, program, more, folder, dnsServer string) (*filter, error) {
	file := filepath.Join(folder, name+".yaml")
	store := filepath.Join(folder, name)
	text := configOf(filepath.Join(folder, name+".sock"), dnsServer, store, more)
	if err := errors.Join(os.MkdirAll(store, 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		return nil, err
	}
	return start(name, folder, program, "serve", "-c", file)
}

// baselines are the filters with which milterd is compared. This program serves them when it is started with the name of one,
// a socket, and a DNS server.
var baselines = map[string]func(ln net.Listener, dnsServer string) error{
	"go-milter": serveGoMilter, "go-msgauth": serveMsgauth,
}

// startBaseline starts this program as a baseline.
func startBaseline(name, folder, dnsServer string) (*filter, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(name, folder, self, name, filepath.Join(folder, name+".sock"), dnsServer)
}

// serveBaseline serves a baseline on a unix socket.
func serveBaseline(name, socket, dnsServer string) error {
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	return baselines[name](ln, dnsServer)
}

// serveGoMilter serves the least that a filter in Go costs: the server of go-milter with a filter that accepts everything.
func serveGoMilter(ln net.Listener, _ string) error {
	srv := gomilter.Server{NewMilter: func() gomilter.Milter { return gomilter.NoOpMilter{} }}
	return srv.Serve(ln)
}
