package main

import (
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"milterd/cmd/milterd/internal/config"
)

// noLocalDomains is the warning about an empty local_domains.
const noLocalDomains = "there are none, and forged senders and HELO names of this site are not noticed; write the domains that it receives mail for"

// adviceOn returns warnings about what a configuration may do, and what its operator rarely means. file is its path; empty: the
// defaults.
func adviceOn(cfg *config.Config, file string) config.Problems {
	var list config.Problems
	warn := func(key, format string, args ...any) {
		list = append(list, config.Problem{File: file, Path: key, Text: fmt.Sprintf(format, args...), Warning: true})
	}
	if len(cfg.LocalDomains) == 0 {
		warn("local_domains", noLocalDomains)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	if !slices.ContainsFunc(cfg.Policy.Trusted.Networks, func(n netip.Prefix) bool { return n.Contains(loopback) }) {
		warn("trusted.networks", `127.0.0.0/8 is missing, and mail from programs of this machine is checked; add 127.0.0.0/8 and "::1/128"`)
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o004 != 0 {
		if key := passwordKey(cfg); key != "" {
			warn(key, "every user of this machine can read the password; run chmod 640 %s, with the group of the daemon", file)
		}
	}
	for _, l := range cfg.Listen {
		if why := thisHost.unreachable(l); why != "" {
			warn("listen", "Postfix cannot connect to %s: %s", l, why)
		}
	}
	return list
}

// passwordKey returns the key of a password in the configuration, or "".
func passwordKey(cfg *config.Config) string {
	if cfg.Admin.Password != "" {
		return "admin.password"
	}
	if u, err := url.Parse(cfg.Store.URL); err == nil && u.User != nil {
		if _, ok := u.User.Password(); ok {
			return "store.url"
		}
	}
	return ""
}

// mailHost is what matters of a machine for the sockets of its mail server.
type mailHost struct {
	postfixGroups func() []int // numbers of the groups of Postfix's account; empty if there is no Postfix
	daemonGroup   func() int   // number of the group of sockets without one
	sendmailCF    string       // path; Sendmail runs as root and can open every socket
	masterCF      string       // path
	queue         string       // path of Postfix's queue, which is the root of its chroot
}

var thisHost = mailHost{
	postfixGroups: func() []int { return groupsOf("postfix") },
	daemonGroup: func() int {
		if g, err := user.LookupGroup("milterd"); err == nil {
			if gid, err := strconv.Atoi(g.Gid); err == nil {
				return gid
			}
		}
		return os.Getgid()
	},
	sendmailCF: "/etc/mail/sendmail.cf",
	masterCF:   "/etc/postfix/master.cf",
	queue:      "/var/spool/postfix",
}

// groupsOf returns the groups of an account, or none if there is no such account.
func groupsOf(account string) []int {
	u, err := user.Lookup(account)
	if err != nil {
		return nil
	}
	names, err := u.GroupIds()
	if err != nil {
		names = []string{u.Gid}
	}
	var groups []int
	for _, name := range names {
		if gid, err := strconv.Atoi(name); err == nil {
			groups = append(groups, gid)
		}
	}
	return groups
}

// unreachable returns why Postfix cannot connect to a socket and what to do, or "" if it can or there is no Postfix.
func (h mailHost) unreachable(l config.Listener) string {
	groups := h.postfixGroups()
	if l.Network != "unix" || len(groups) == 0 || exists(h.sendmailCF) {
		return ""
	}
	if h.chrooted() && !strings.HasPrefix(l.Address, h.queue+"/") {
		return fmt.Sprintf("its smtpd runs in a chroot and sees only what is below %s; use inet:8891@127.0.0.1, or a socket there", h.queue)
	}
	mode, group := l.Mode, h.daemonGroup()
	if mode == 0 {
		mode = 0o660
	}
	if l.Group != "" {
		gid, err := groupID(l.Group)
		if err != nil {
			return "" // an error of its own
		}
		group = gid
	}
	if !allows(mode, group, groups, 0o2) {
		return `the account postfix may not write to it; write {socket: "` + l.String() + `", group: postfix, mode: "0660"}`
	}
	folder := filepath.Dir(l.Address)
	if info, err := os.Stat(folder); err == nil && !allows(info.Mode().Perm(), ownerGroup(info), groups, 0o1) {
		return fmt.Sprintf("the account postfix may not enter %s; run chmod o+x %s", folder, folder)
	}
	return ""
}

// allows reports whether a mode grants a permission (4, 2 or 1) to everybody, or to a group that is among others.
func allows(mode fs.FileMode, group int, among []int, permission fs.FileMode) bool {
	const groupShift = 3
	return mode&permission != 0 || mode&(permission<<groupShift) != 0 && slices.Contains(among, group)
}

// chrooted reports whether an smtpd of Postfix runs in a chroot: the fifth field of its line in master.cf is y.
func (h mailHost) chrooted() bool {
	text, err := os.ReadFile(h.masterCF)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		const chroot, command = 4, 7
		if f := strings.Fields(line); len(f) > command && line[0] != '#' && f[chroot] == "y" && f[command] == "smtpd" {
			return true
		}
	}
	return false
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
