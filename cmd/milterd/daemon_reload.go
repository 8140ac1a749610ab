package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/cmd/milterd/internal/config"
)

// failedReload describes a reload that failed. The previous configuration stays in force.
type failedReload struct {
	Since  time.Time `json:"since"` // of the first failure since the last reload that succeeded
	File   string    `json:"file"`
	Errors []string  `json:"errors"` // the first, with file, line and column
	count  int       // of all errors
}

// String returns a sentence for the operator.
func (f *failedReload) String() string {
	more := ""
	if n := f.count - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more %s, see milterd check-config)", n, plural(n, "errors"))
	}
	return fmt.Sprintf("the reload at %s failed, and the previous configuration is in force until you correct the file and reload: %s%s",
		formatTime(f.Since), f.Errors[0], more)
}

// maxReloadErrors is the number of errors of a failed reload that are kept. A file of another format has one in each line.
const maxReloadErrors = 20

// reloadWhenAsked reloads after each signal until ctx is done. It runs in a goroutine of its own: a file may never be read to its end, and
// the daemon must stop nevertheless.
func (d *daemon) reloadWhenAsked(ctx context.Context, hup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			d.reload()
		}
	}
}

// reload puts a new configuration in force for new connections. If it has an error, the old one stays, and the daemon says so
// until a reload succeeds.
func (d *daemon) reload() {
	notify(sd.SdNotifyReloading + "\n" + sd.SdNotifyMonotonicUsec()) // Type=notify-reload needs the time
	defer notify(sd.SdNotifyReady)
	var errs []string
	if !d.protect("reload", func() { errs = d.tryReload() }) {
		errs = []string{"there was a panic, see the log"}
	}
	if len(errs) > 0 {
		f := &failedReload{Since: time.Now(), File: d.file, Errors: errs[:min(len(errs), maxReloadErrors)], count: len(errs)}
		if before := d.reloadFailed.Load(); before != nil {
			f.Since = before.Since
		}
		d.reloadFailed.Store(f)
		d.log.Error("reload failed: the old configuration stays in force")
		return
	}
	d.reloadFailed.Store(nil)
	d.log.Info("configuration reloaded")
}

// tryReload puts the configuration of the file in force, or returns its errors.
func (d *daemon) tryReload() []string {
	cfg, p, errs := d.readAgain()
	if len(errs) > 0 {
		return errs
	}
	running, keys := d.keepUntilRestart(cfg)
	d.log.SetLevel(cfg.Log.Level)
	p.Reload(d.pipeline.Load())
	d.usePipeline(context.Background(), p)
	d.useMirror(cfg)
	d.mu.Lock()
	d.cfg, d.waitingKeys = running, keys
	d.mu.Unlock()
	return nil
}

// readAgain reads the configuration file and builds its pipeline. It logs the problems and returns the errors.
func (d *daemon) readAgain() (cfg *config.Config, p *checks.Pipeline, errs []string) {
	cfg, problems := config.Load(d.file, all.Checks)
	for _, problem := range problems {
		e := d.log.WithField("problem", problem.Error())
		if problem.Warning {
			e.Warn("configuration")
			continue
		}
		e.Error("configuration")
		errs = append(errs, problem.Error())
	}
	if len(errs) > 0 {
		return nil, nil, errs
	}
	p, err := d.build(cfg)
	if err != nil {
		d.log.WithError(err).Error("configuration")
		return nil, nil, []string{err.Error()}
	}
	return cfg, p, nil
}

// keepUntilRestart returns a new configuration in which the keys that take effect at the next start have their present values. changed
// has those of these keys to which cfg gives another value. It logs them.
func (d *daemon) keepUntilRestart(cfg *config.Config) (_ *config.Config, changed []string) {
	running := *cfg
	running.Log.Level = d.cfg.Log.Level // the level alone takes effect at once, so it is no change of the key log
	present := atStart(d.cfg)
	keys := atStart(&running)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		value := keys[key]
		is, was := reflect.ValueOf(value).Elem(), reflect.ValueOf(present[key]).Elem()
		if !reflect.DeepEqual(is.Interface(), was.Interface()) {
			d.log.WithField("key", key).Warn("this change takes effect at the next start")
			is.Set(was)
			changed = append(changed, key)
		}
	}
	running.Log.Level = cfg.Log.Level
	return &running, changed
}

// atStart returns the keys of a configuration that take effect at the start only, with pointers to their values.
func atStart(cfg *config.Config) map[string]any {
	return map[string]any{
		"listen": &cfg.Listen, "dns": &cfg.DNS, "log": &cfg.Log, "store": &cfg.Store, "admin": &cfg.Admin, "explain": &cfg.Explain,
		"records": &cfg.Records, "max_connections": &cfg.MaxConnections, "memory": &cfg.Memory,
	}
}
