package main

import (
	"bytes"
	"context"
	"io"
	"log/syslog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/profiles"
	"milterd/milter/log"
)

// TestKeysOfRestart tests that each key of the configuration either takes effect with a reload, or keeps its value with a warning.
func TestKeysOfRestart(t *testing.T) {
	t.Parallel()
	atOnce := []string{"Text", "Hostname", "LocalDomains", "Profile", "Policy", "Mirror", "RecipientFiles", "settings", "decoder", "places"}
	cfg := &config.Config{}
	kept := map[any]bool{}
	for _, value := range atStart(cfg) {
		kept[value] = true
	}
	fields := reflect.ValueOf(cfg).Elem()
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		isAtOnce := slices.Contains(atOnce, name)
		if isKept := fields.Field(i).CanInterface() && kept[fields.Field(i).Addr().Interface()]; isKept == isAtOnce {
			t.Errorf("%s takes effect with a reload: %t; keeps its value: %t; want one of both", name, isAtOnce, isKept)
		}
	}
}

// TestKeepUntilRestart tests what is in force after a reload, and the warnings.
func TestKeepUntilRestart(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	output := log.ToWriter(&lines, false, false)
	d := &daemon{log: output.Logger(logrus.InfoLevel), cfg: &config.Config{
		Hostname: "old.example.org", Memory: 1, MaxConnections: 10, Log: config.Log{Level: logrus.InfoLevel, Syslog: true, Facility: syslog.LOG_MAIL},
	}}
	changed := *d.cfg
	changed.Hostname, changed.Memory, changed.Log.Level = "new.example.org", 2, logrus.DebugLevel
	got, keys := d.keepUntilRestart(&changed)
	output.Close(time.Minute)
	if got.Hostname != "new.example.org" || got.Log.Level != logrus.DebugLevel || got.Memory != 1 || changed.Memory != 2 {
		t.Errorf("in force: %+v", *got)
	}
	if !slices.Equal(keys, []string{"memory"}) {
		t.Errorf("changed keys %q, want memory", keys)
	}
	if text := lines.String(); strings.Count(text, "takes effect at the next start") != 1 || !strings.Contains(text, "key=memory") {
		t.Errorf("warnings: %s", text)
	}
}

// TestFailedReload tests that a failed reload counts all errors of the file, also those that are not kept.
func TestFailedReload(t *testing.T) {
	t.Parallel()
	output := log.ToWriter(io.Discard, false, false)
	defer output.Close(time.Minute)
	d := &daemon{log: output.Logger(logrus.InfoLevel), file: filepath.Join(t.TempDir(), "milterd.yaml")}
	writeFile(t, d.file, strings.Join(strings.Split("abcdefghijklmnopqrstuvwxyz", ""), ": 1\n")+": 1\n")
	d.reload()
	if text := d.reloadFailed.Load().String(); !strings.Contains(text, `unknown key "a"`) || !strings.Contains(text, "(and 25 more errors, see") {
		t.Errorf("reload of a file with 26 errors: %s", text)
	}
	writeFile(t, d.file, "a: 1\nb: 1\n")
	d.reload()
	if text := d.reloadFailed.Load().String(); !strings.Contains(text, "(and 1 more error, see") {
		t.Errorf("reload of a file with 2 errors: %s", text)
	}
}

// TestMovedKeysAreNoChange tests that a reload of a file in which keys stand at another place asks for no restart.
func TestMovedKeysAreNoChange(t *testing.T) {
	t.Parallel()
	const text = "listen: [unix:/run/milterd/a.sock, inet:8891@127.0.0.1]\nadmin: {listen: '127.0.0.1:8893'}\n"
	output := log.ToWriter(io.Discard, false, false)
	defer output.Close(time.Minute)
	d := &daemon{log: output.Logger(logrus.InfoLevel), cfg: parseConfig(t, text)}
	if _, changed := d.keepUntilRestart(parseConfig(t, "# moved\nprofile: watch\n"+text)); len(changed) > 0 {
		t.Errorf("changed keys %q", changed)
	}
}

// TestPanicOfReload tests that a panic is a failed reload.
func TestPanicOfReload(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	output := log.ToWriter(&lines, false, false)
	d := &daemon{log: output.Logger(logrus.InfoLevel)} // without a configuration, with which the new one is compared
	d.reload()
	output.Close(time.Minute)
	if f := d.reloadFailed.Load(); f == nil || !strings.Contains(f.String(), "there was a panic") || !strings.Contains(lines.String(), "in=reload stack=") {
		t.Errorf("%v, log: %s", f, &lines)
	}
}

// TestPanicOfProfiles tests that a panic while the decisions are read does not end the daemon.
func TestPanicOfProfiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s profileSentences
		for range 2 {
			if list := s.get(time.Now(), func(context.Context) ([]profiles.Result, error) { panic("a fault") }); len(list) > 0 {
				t.Errorf("got %q", list)
			}
			synctest.Wait()
			time.Sleep(profilesFor)
		}
	})
}
