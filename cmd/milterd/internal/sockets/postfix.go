package sockets

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"milterd/cmd/milterd/internal/config"
)

// mailHost is what matters of a machine for the sockets of its mail server.
type mailHost struct {
	postfixGroups []int  // numbers of the groups of Postfix's account; empty if there is no Postfix
	daemonGroup   int    // number of the group of sockets without one
	sendmailCF    string // path; Sendmail runs as root and can open every socket
	masterCF      string // path
	queue         string // path of Postfix's queue, which is the root of its chroot
}

// Unreachable returns why Postfix on this machine cannot connect to a socket and what to do, or "" if it can or there is no Postfix.
func Unreachable(l config.Listener) string {
	h := mailHost{
		postfixGroups: groupsOf("postfix"), daemonGroup: os.Getgid(),
		sendmailCF: "/etc/mail/sendmail.cf", masterCF: "/etc/postfix/master.cf", queue: "/var/spool/postfix",
	}
	if gid, err := groupID("milterd"); err == nil {
		h.daemonGroup = gid
	}
	return h.unreachable(l)
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

// unreachable is Unreachable for a machine.
func (h mailHost) unreachable(l config.Listener) string {
	if l.Network != "unix" || len(h.postfixGroups) == 0 || exists(h.sendmailCF) {
		return ""
	}
	if h.chrooted() && !strings.HasPrefix(l.Address, h.queue+"/") {
		return fmt.Sprintf("its smtpd runs in a chroot and sees only what is below %s; use inet:8891@127.0.0.1, or a socket there that milterd.socket makes (milterd doc attach)", h.queue)
	}
	mode, group := cmp.Or(l.Mode, defaultMode), h.daemonGroup
	if l.Group != "" {
		gid, err := groupID(l.Group)
		if err != nil {
			return "" // an error of its own
		}
		group = gid
	}
	if !allows(mode, group, h.postfixGroups, 0o2) {
		return `the account postfix may not write to it; write {socket: "` + l.String() + `", group: postfix, mode: "0660"}`
	}
	folder := filepath.Dir(l.Address)
	if info, err := os.Stat(folder); err == nil && !allows(info.Mode().Perm(), ownerGroup(info), h.postfixGroups, 0o1) {
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

// ownerGroup returns the number of the group of a file.
func ownerGroup(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Gid)
	}
	return -1
}
