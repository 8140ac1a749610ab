// Package admin connects commands with the running daemon over a unix socket: Handler answers in the daemon, Call asks in the
// command. The protocol is HTTP with JSON; every function has a path. The permissions of the socket are the only access
// control: whoever can open it can call every function.
//
// cmd/milterd has the functions and the types of their arguments and results.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"milterd/checks"
)

// NoDaemon is the error of Call if no daemon answers. Its text says why and what to do.
type NoDaemon struct{ Err error }

// Error implements error.
func (e *NoDaemon) Error() string { return e.Err.Error() }

const (
	// maxArguments is the maximum size of the encoded arguments in bytes. The largest are those of simulate: a message.
	maxArguments = 16 << 20
	// callTimeout is the time that a function has. A scan of a large store takes some seconds; half would end those of the
	// largest, and double would only delay the error of a function that hangs.
	callTimeout = time.Minute
	// Timeout is callTimeout with the time that the connection takes.
	Timeout = callTimeout + 10*time.Second
)

// Handler returns the handler of calls. functions are by the names that Call uses.
func Handler(functions map[string]http.Handler) http.Handler {
	mux := http.NewServeMux()
	for name, f := range functions {
		mux.Handle("POST /"+name, f)
	}
	return mux
}

// Function returns f as a function of the daemon. Its arguments and its result are JSON.
func Function[A, R any](f func(context.Context, A) (R, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
		defer cancel()
		var args A
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxArguments))
		d.DisallowUnknownFields()
		if err := d.Decode(&args); err != nil {
			http.Error(w, "the daemon cannot read the arguments, it is of another version: "+err.Error(), http.StatusBadRequest)
			return
		}
		result, err := f(ctx, args)
		switch {
		case errors.As(err, new(*checks.ArgumentError)):
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		case err != nil && ctx.Err() != nil:
			err = fmt.Errorf("the command takes longer than %v: ask for less, or try again (milterd status shows the store): %w", callTimeout, err)
		}
		var text []byte
		if err == nil {
			text, err = json.Marshal(result)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text) // fails if the command has ended
	})
}

// Call calls a function of the daemon that listens on socket. It decodes the result into the variable to which result
// points. An error of the function is returned with its text alone, as a checks.ArgumentError if it was one.
func Call(ctx context.Context, socket, name string, args, result any) error {
	body, err := json.Marshal(args)
	if err != nil {
		return err
	}
	if len(body) > maxArguments {
		return checks.BadArgument("the daemon takes a message or other arguments of at most %d MiB, and these have %d bytes", maxArguments>>20, len(body))
	}
	client := &http.Client{
		Timeout: Timeout,
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://milterd/"+name, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return connectError(socket, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return connectError(socket, err)
	case resp.StatusCode == http.StatusBadRequest:
		return checks.BadArgument("%s", strings.TrimSpace(string(text)))
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("the daemon at %s does not know this command: it is of another version, restart it", socket)
	case resp.StatusCode != http.StatusOK:
		return errors.New(strings.TrimSpace(string(text)))
	default:
		return json.Unmarshal(text, result)
	}
}

// connectError returns an error that says why the daemon does not answer, and what to do.
func connectError(socket string, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		err = fmt.Errorf("no daemon answers at %s: is milterd running (systemctl status milterd)? If its admin.socket is another one, name it with --socket, or the configuration with -c", socket)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%s: permission denied: run the command as root or as a member of the group of the socket", socket)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("the daemon at %s did not answer in time: try again, and see its log", socket)
	default:
		err = fmt.Errorf("the daemon at %s ended the connection: try again, and see its log", socket)
	}
	return &NoDaemon{Err: err}
}
