package main

import (
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// notify sends a state to systemd, if systemd started the daemon (sd_notify(3)).
func notify(state string) { _, _ = sd.SdNotify(false, state) }

// watchdog returns a channel that ticks with half the interval of systemd's watchdog. Without a watchdog it never ticks.
func watchdog() <-chan time.Time {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil || interval <= 0 {
		return nil
	}
	return time.Tick(interval / 2)
}
