package reasons

import (
	"fmt"
	"net"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
)

// startMailHosts starts mail hosts of daemontest.World at the same port: mx.callout.test, whose only user is ann, and
// mx.silent.test, which accepts connections and sends nothing. mx.refusing.test refuses connections.
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
