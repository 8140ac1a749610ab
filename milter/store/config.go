package store

import (
	"cmp"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/milter/log"
)

// Config configures a Store.
type Config struct {
	// Driver is "memory", "embedded" or "redis". Empty means embedded.
	Driver string

	// Path is the state folder of the embedded driver. Open creates it. The database is in its subfolder "store"; a
	// damaged one is renamed to "store.damaged-" with the time (UTC) and never deleted.
	Path string

	// URL is the address for the redis driver: redis://user:password@host:port/db, rediss:// for TLS, or
	// unix:///path?db=n. A Redis Cluster is detected. The parameter master_set=name means that the address is that of a
	// Sentinel; addr=host:port, which may be repeated, adds nodes or Sentinels.
	URL string

	// Timeout is the time limit of each operation; of Scan, of each page. 0 means 500 ms.
	Timeout time.Duration

	// MaxBytes limits the memory driver. The bytes are those of keys and values and 128 for each record. Beyond it, the
	// records that expire soonest are deleted. 0 means 256 MiB.
	MaxBytes int64

	// Now is the clock by which records expire. Redis uses its own. nil means elapsed time, see recordClock.
	Now func() time.Time

	// Log receives outages, recoveries and damage. nil means no log.
	Log *logrus.Entry

	wall func() time.Time // clock of the times in Status and Record
}

// Defaults of Config. The table of limits in the guide "operating" has them.
const (
	defaultTimeout = 500 * time.Millisecond
	defaultBytes   = 256 << 20
)

// withDefaults returns cfg with its defaults filled in.
func (cfg Config) withDefaults() Config {
	cfg.Driver = cmp.Or(cfg.Driver, "embedded")
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, defaultBytes)
	cfg.wall = cfg.Now
	if cfg.Now == nil {
		cfg.Now, cfg.wall = elapsedTime(), time.Now
	}
	if cfg.Log == nil {
		cfg.Log = log.Discard()
	}
	cfg.Log = cfg.Log.WithField("store", cfg.Driver)
	return cfg
}
