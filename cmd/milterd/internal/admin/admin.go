// Package admin lets commands ask a running daemon, over a unix socket on the same machine: HTTP with JSON, a path for
// each function. Who may open the socket may do everything; its permissions are the only guard.
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
	"strings"
	"syscall"
	"time"
)

// Func is a function of the daemon. It decodes its arguments into what it likes and returns what is to be encoded.
type Func func(ctx context.Context, decode func(args any) error) (result any, err error)

const (
	// maxArguments is the most that is read of a question, in octets.
	maxArguments = 64 << 10
	// patience is how long a function may take. A scan of a large store takes some seconds.
	patience = time.Minute
)

// Serve answers on a listener until it is closed.
func Serve(ln net.Listener, funcs map[string]Func) error {
	mux := http.NewServeMux()
	for name, f := range funcs {
		mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) { answer(w, r, f) })
	}
	srv := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: patience + 10*time.Second, IdleTimeout: time.Second}
	err := srv.Serve(ln)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func answer(w http.ResponseWriter, r *http.Request, f Func) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	result, err := f(ctx, func(args any) error {
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxArguments))
		d.DisallowUnknownFields()
		return d.Decode(args)
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	text, err := json.Marshal(result)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // who asked has gone
}

// Call asks the daemon at a socket for a function and decodes what it answers into result, if that is not nil.
func Call(ctx context.Context, socket, name string, args, result any) error {
	body, err := json.Marshal(args)
	if err != nil {
		return err
	}
	client := &http.Client{
		Timeout: patience + 10*time.Second,
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
		return unreachable(socket, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return errors.New(strings.TrimSpace(string(text)))
	case result == nil:
		return nil
	default:
		return json.Unmarshal(text, result)
	}
}

// unreachable says what the error of a connection means.
func unreachable(socket string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no daemon answers at %s: is milterd running, with the same admin.socket?", socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: permission denied: root and the socket's group may ask the daemon", socket)
	}
	return err
}
