package main_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
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
			go serveMailHost(conn)
		}
	}()
	return port
}

func serveMailHost(conn net.Conn) {
	defer conn.Close()
	fmt.Fprint(conn, "220 mx.callout.test ESMTP\r\n")
	for in := bufio.NewScanner(conn); in.Scan(); {
		line := strings.ToUpper(in.Text())
		reply := "250 2.0.0 ok"
		switch {
		case strings.HasPrefix(line, "RCPT TO:<ANN@"):
		case strings.HasPrefix(line, "RCPT"):
			reply = "550 5.1.1 no such user"
		case strings.HasPrefix(line, "DATA"), strings.HasPrefix(line, "VRFY"):
			reply = "554 5.7.1 this is no callout"
		}
		fmt.Fprintf(conn, "%s\r\n", reply)
		if line == "QUIT" {
			return
		}
	}
}
