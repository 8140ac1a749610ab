package main

import (
	"fmt"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
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

// monotonic returns the time that Type=notify-reload needs with RELOADING=1.
func monotonic() string {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return ""
	}
	return fmt.Sprintf("MONOTONIC_USEC=%d", ts.Nano()/1000)
}
