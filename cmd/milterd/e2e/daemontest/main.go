package daemontest

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"testing"
)

// Main runs the tests of a package that wait for a daemon more than they compute: four times as many at a time as there are
// processors, unless the flag -parallel says otherwise. TestMain calls it. With MILTERD_TEST_REAL=1, make test runs several packages
// at a time instead.
func Main(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given && os.Getenv("MILTERD_TEST_REAL") != "1" {
		_ = flag.Set("test.parallel", strconv.Itoa(4*runtime.GOMAXPROCS(0)))
	}
	os.Exit(m.Run())
}
