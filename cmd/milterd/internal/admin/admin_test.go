package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/checks"
)

func TestCall(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "admin.sock")
	ctx := context.Background()
	if err := Call(ctx, socket, "double", nil, nil); err == nil || !strings.Contains(err.Error(), "no daemon answers") {
		t.Errorf("without a daemon: %v", err)
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	type args struct{ N int }
	srv := &httptest.Server{Listener: ln, Config: &http.Server{Handler: Handler(map[string]http.Handler{
		"double": Function(func(_ context.Context, a args) (int, error) { return 2 * a.N, nil }),
		"fail":   Function(func(context.Context, any) (any, error) { return nil, errors.New("the store is down") }),
		"refuse": Function(func(context.Context, any) (any, error) { return nil, checks.BadArgument("not a number") }),
	})}}
	srv.Start()
	defer srv.Close()
	var n int
	if err := Call(ctx, socket, "double", args{21}, &n); err != nil || n != 42 {
		t.Errorf("got %d, %v", n, err)
	}
	if err := Call(ctx, socket, "fail", nil, nil); err == nil || err.Error() != "the store is down" {
		t.Errorf("got %v", err)
	}
	if err := Call(ctx, socket, "refuse", nil, nil); !errors.As(err, new(*checks.ArgumentError)) || err.Error() != "not a number" {
		t.Errorf("got %v", err)
	}
	if err := Call(ctx, socket, "double", map[string]int{"m": 1}, nil); err == nil || !strings.Contains(err.Error(), `unknown field "m"`) {
		t.Errorf("got %v", err)
	}
	long := strings.Repeat("x", maxArguments)
	if err := Call(ctx, socket, "double", map[string]string{"N": long}, nil); !errors.As(err, new(*checks.ArgumentError)) || !strings.Contains(err.Error(), "at most 16 MiB") {
		t.Errorf("arguments of %d bytes: %v", len(long), err)
	}
	if err := Call(ctx, socket, "unknown", nil, nil); err == nil {
		t.Error("no error of an unknown function")
	}
}

// TestSlowFunction tests that the error of a function that runs out of its time says so.
func TestSlowFunction(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	f := Function(func(ctx context.Context, _ any) (any, error) {
		<-ctx.Done()
		return nil, fmt.Errorf("scan: %w", ctx.Err())
	})
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "POST", "/slow", strings.NewReader("{}")))
	if got := w.Body.String(); w.Code != http.StatusUnprocessableEntity || !strings.HasPrefix(got, "the command takes longer than 1m0s: ") {
		t.Errorf("%d, %s", w.Code, got)
	}
}
