package main_test

import (
	"fmt"
	"milterd/cmd/milterd/e2e/daemontest"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"testing"
	"time"
)

// startRegistry starts an RDAP server until the test ends, and returns its base URL. Every domain was registered yesterday.
func startRegistry(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/rdap+json")
		fmt.Fprintf(w, `{"objectClassName":"domain","ldhName":%q,"events":[{"eventAction":"registration","eventDate":%q}]}`,
			path.Base(r.URL.Path), time.Now().Add(-24*time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// startMailHosts starts the mail hosts of the world's senders at one port, until the test ends: mx.callout.test, which has no
// user but "ann" at any domain, and mx.silent.test, which accepts connections and says nothing. At mx.refusing.test nobody
// listens.
func startMailHosts(t *testing.T) (port int) {
	t.Helper()
	host, err := net.Listen("tcp", "127.0.0.51:0")
	if err != nil {
		t.Fatal(err)
	}
	port = host.Addr().(*net.TCPAddr).Port
	silent, err := net.Listen("tcp", fmt.Sprintf("127.0.0.52:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = host.Close(), silent.Close() })
	go func() {
		for {
			conn, err := host.Accept()
			if err != nil {
				return
			}
			go daemontest.ServeMailHost(conn)
		}
	}()
	return port
}
