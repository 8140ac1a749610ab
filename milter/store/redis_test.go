package store

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest/storetest"
	"milterd/milter/miltertest"
	"milterd/milter/store/redistest"
)

// redisSetup returns the setup of storetest for a server at url. Each test begins with an empty database.
func redisSetup(s *redistest.Server, url string) storetest.Setup {
	client := func(t *testing.T) checks.Store { return open(t, Config{Driver: "redis", URL: url}) }
	return storetest.Setup{
		Open: func(t *testing.T) checks.Store {
			if out, err := exec.Command("redis-cli", "-s", s.Socket, "FLUSHALL").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return client(t)
		},
		Second: func(t *testing.T, _ checks.Store) checks.Store { return client(t) },
		Now:    time.Now,
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	storetest.Run(t, redisSetup(s, s.URL()))
}

// TestRedisCopiesValues tests that a caller may change a value after Put, even if the client has not sent it yet.
func TestRedisCopiesValues(t *testing.T) {
	t.Parallel()
	p := redistest.NewProxy(t, redistest.Start(t))
	d := open(t, Config{Driver: "redis", URL: "redis://" + p.Addr}).driver
	const values, length = 200, 60 << 10
	key := func(i int) string { return strconv.Itoa(i) }
	all := func(f func(i int)) {
		var wg sync.WaitGroup
		for i := range values {
			wg.Go(func() { f(i) })
		}
		wg.Wait()
	}
	all(func(i int) { _, _, _ = d.get(t.Context(), key(i)) }) // makes the client use its pipeline
	p.Set(redistest.Stall)
	all(func(i int) {
		value := bytes.Repeat([]byte("a"), length)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_ = d.put(ctx, key(i), value, time.Hour)
		copy(value, bytes.Repeat([]byte("b"), length))
	})
	p.Set(redistest.Pass)
	miltertest.Eventually(t, "the server has received the values", func() bool { return d.put(t.Context(), "last", nil, time.Hour) == nil })
	all(func(i int) {
		if value, ok, err := d.get(t.Context(), key(i)); err == nil && ok && bytes.Contains(value, []byte("b")) {
			t.Errorf("value %d was changed after it was written", i)
		}
	})
}

// TestRedisCluster runs the tests of storetest on a cluster of one node with all slots.
func TestRedisCluster(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	s := redistest.Start(t, "--port", port, "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", freePort(t))
	if out, err := exec.Command("redis-cli", "-s", s.Socket, "CLUSTER", "ADDSLOTSRANGE", "0", "16383").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	miltertest.Eventually(t, "the cluster is up", func() bool {
		out, _ := exec.Command("redis-cli", "-s", s.Socket, "CLUSTER", "INFO").Output()
		return strings.Contains(string(out), "cluster_state:ok")
	})
	url := "redis://127.0.0.1:" + port
	storetest.Run(t, redisSetup(s, url))
	if st := open(t, Config{Driver: "redis", URL: url}).Status(); !st.OK || st.Records != -1 {
		t.Errorf("got %+v", st)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func TestRedisTLSAndPassword(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--requirepass", "secret/word")
	p := redistest.NewProxy(t, s, certificate(t))
	good := open(t, Config{Driver: "redis", URL: "rediss://:secret%2Fword@" + p.Addr + "/3?skip_verify=true"})
	if err := good.Put(t.Context(), "a", []byte("1"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if st := good.Status(); !st.OK || strings.Contains(st.Place, "secret") || st.Records < 0 {
		t.Errorf("got %+v", st)
	}
	for name, url := range map[string]string{
		"certificate": "rediss://:secret%2Fword@" + p.Addr,
		"password":    "rediss://:secret%2Fwrong@" + p.Addr + "?skip_verify=true",
		"no TLS":      "redis://:secret%2Fword@" + p.Addr,
	} {
		s := open(t, Config{Driver: "redis", URL: url, Timeout: time.Second})
		err := s.healthy()
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestRightsTakenAway tests what an operator reads of a user who may no longer write, or read all that Scan needs.
func TestRightsTakenAway(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, strings.Fields("--user milterd on >word ~milterd* +@read -pttl +@connection +dbsize +info +set")...)
	shared := open(t, Config{Driver: "redis", URL: "redis://milterd:word@" + redistest.NewProxy(t, s).Addr})
	if err := shared.Put(t.Context(), "a", nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	_, errAdd := shared.Add(t.Context(), "b", 1, time.Hour)
	var errScan error
	for _, errScan = range shared.Scan(t.Context(), "") {
	}
	for _, err := range []error{errAdd, errScan} {
		if want := `may not do all that milterd needs (see "milterd doc greylisting"): NOPERM`; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v", err)
		}
	}
}

// TestRedisFaultsSayWhatToDo tests what an operator reads of a password, a user or TLS that the server does not take, and that
// the rights that the guide names are enough.
func TestRedisFaultsSayWhatToDo(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, strings.Fields("--requirepass secret --user other on >word ~other* +@all "+
		"--user milterd on >word ~milterd* +@read +@write +@scripting +@connection +dbsize +info")...)
	p := redistest.NewProxy(t, s)
	secure := redistest.NewProxy(t, s, certificate(t))
	for name, c := range map[string]struct{ url, want string }{
		"no password":     {"redis://" + p.Addr, "the server wants a password (NOAUTH): write redis://USER:PASSWORD@HOST:PORT"},
		"wrong password":  {"redis://:x@" + p.Addr, "refuses the user or the password in store.url (WRONGPASS)"},
		"other keys":      {"redis://other:word@" + p.Addr, `may not do all that milterd needs (see "milterd doc greylisting"): NOPERM`},
		"a port with TLS": {"redis://:secret@" + secure.Addr, "if the server wants TLS on this port, write rediss:// in store.url"},
		"without TLS":     {"rediss://:secret@" + p.Addr, "if the server has no TLS on this port, write redis:// in store.url"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, Config{Driver: "redis", URL: c.url, Timeout: time.Second})
			// The first cause may be the time limit.
			miltertest.Eventually(t, c.want, func() bool { return strings.Contains(s.Status().Error, c.want) })
		})
	}
	good := open(t, Config{Driver: "redis", URL: "redis://milterd:word@" + p.Addr})
	if _, err := good.Add(t.Context(), "a", 1, time.Hour); err != nil {
		t.Error(err)
	}
	for _, err := range good.Scan(t.Context(), "a") {
		if err != nil {
			t.Error(err)
		}
	}
	if err := good.Delete(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if st := good.Status(); !st.OK || st.Records < 0 || st.Bytes < 0 {
		t.Errorf("got %+v", st)
	}
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestBadURLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "localhost:6379", "http://localhost", "redis://:sec%ret@localhost", "redis://:secret@localhost/x", "redis://:secret@[::1"} {
		s, err := Open(Config{Driver: "redis", URL: url})
		if err == nil {
			s.Close()
			t.Errorf("%q was accepted", url)
		} else if strings.Contains(err.Error(), "sec") {
			t.Errorf("the error contains the password: %v", err)
		}
	}
}

// TestRoundTrips tests that an operation takes one round trip, and that concurrent operations share round trips.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	p := redistest.NewProxy(t, redistest.Start(t))
	s := open(t, Config{Driver: "redis", URL: "redis://" + p.Addr})
	ctx := t.Context()
	before := p.Chunks.Load()
	for i := range 50 {
		if _, err := s.PutNew(ctx, strconv.Itoa(i), nil, time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Add(ctx, "n", 1, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	// Probes add some.
	if n := p.Chunks.Load() - before; n > 120 {
		t.Errorf("100 operations took %d round trips", n)
	}
	before = p.Chunks.Load()
	var all sync.WaitGroup
	for i := range 2000 {
		all.Go(func() {
			if err := s.Put(ctx, strconv.Itoa(i), nil, time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := p.Chunks.Load() - before; n > 1000 {
		t.Errorf("2000 operations at once took %d round trips", n)
	}
}

// TestCheckURL tests URLs with which a Redis cannot be reached. No error contains the password.
func TestCheckURL(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		url   string
		valid bool
	}{
		"host":             {"redis://redis.example", true},
		"port and number":  {"rediss://u:secret@redis.example:6380/2", true},
		"unix socket":      {"unix:///run/redis/redis.sock", true},
		"no scheme":        {"redis.example:6379", false},
		"scheme of others": {"http://u:secret@redis.example", false},
		"database by name": {"redis://u:secret@redis.example/mail", false},
		"port too large":   {"redis://u:secret@redis.example:99999/0", false},
		"port 0":           {"redis://u:secret@redis.example:0/0", false},
		"port by name":     {"redis://u:secret@redis.example:redis/0", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := CheckURL(c.url)
			if (err == nil) != c.valid || err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("CheckURL(%q) = %v", c.url, err)
			}
		})
	}
}
