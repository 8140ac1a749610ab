package checks

import (
	"fmt"
	"slices"
	"strings"
)

// Action is what the Pipeline does when a reason applies.
type Action uint8

// The actions, from the least to the most severe.
const (
	Off        Action = iota // nothing
	Watch                    // log and count
	Tag                      // accept the message with a header field that has the reason, see Outcome.Mark
	Greylist                 // suspect the delivery: the greylist check defers it for a while
	Quarantine               // as Tag, and the MTA sets the accepted message aside for the operator
	Tempfail                 // refuse with the 4yz form of the reply
	Reject                   // refuse with the reply
)

var actionNames = [...]string{"off", "watch", "tag", "greylist", "quarantine", "tempfail", "reject"}

// ActionNames returns the names of all actions, least severe first.
func ActionNames() []string { return actionNames[:] }

// String returns the name of the action in the configuration.
func (a Action) String() string { return actionNames[a] }

// ParseAction returns the action of a name. "false" is Off: YAML 1.1 reads the word off as false.
func ParseAction(s string) (Action, error) {
	if s == "false" {
		return Off, nil
	}
	if i := slices.Index(actionNames[:], s); i >= 0 {
		return Action(i), nil
	}
	return Off, fmt.Errorf("%q is not an action; want one of %s", s, strings.Join(actionNames[:], ", "))
}

// Enforced reports whether the action refuses mail.
func (a Action) Enforced() bool { return a >= Tempfail }

// marks reports whether the action marks an accepted message: Tag or Quarantine.
func (a Action) marks() bool { return a == Tag || a == Quarantine }

// Profile is a set of default actions.
type Profile uint8

// The profiles.
const (
	Safe         Profile = iota // refuses only what honest mail practically never does
	Strict                      // refuses widespread faults too
	WatchProfile                // watches every reason, except those whose check connects to other hosts
)

var profileNames = [...]string{"safe", "strict", "watch"}

// ProfileNames returns the names of all profiles.
func ProfileNames() []string { return profileNames[:] }

// String returns the name of the profile in the configuration.
func (p Profile) String() string { return profileNames[p] }

// ParseProfile returns the profile of a name.
func ParseProfile(s string) (Profile, error) {
	if i := slices.Index(profileNames[:], s); i >= 0 {
		return Profile(i), nil
	}
	return Safe, fmt.Errorf("%q is not a profile; want one of %s", s, strings.Join(profileNames[:], ", "))
}

// Action returns the default action of a reason.
func (p Profile) Action(r *Reason) Action {
	switch p {
	case Strict:
		return r.Strict
	case WatchProfile:
		if r.Connects {
			return Off
		}
		return Watch
	default:
		return r.Safe
	}
}
