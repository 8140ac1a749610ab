package main

import (
	"fmt"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notify tells systemd, if it started us (sd_notify(3)).
func notify(state string) { _, _ = sd.SdNotify(false, state) }

// watchdogTicker ticks twice in the time within which systemd wants to hear of us. Without a watchdog it never does.
func watchdogTicker() *time.Ticker {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil || interval <= 0 {
		t := time.NewTicker(time.Hour)
		t.Stop()
		return t
	}
	return time.NewTicker(interval / 2)
}

// monotonic is the time that Type=notify-reload wants with RELOADING=1.
func monotonic() string {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return ""
	}
	return fmt.Sprintf("MONOTONIC_USEC=%d", ts.Nano()/1000)
}
