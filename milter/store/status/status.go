// Package status has the state of a store. It is a package of its own so that metrics and pages, which show the state, do not need the
// libraries of the drivers in milter/store.
package status

import "time"

// Store is the state of a store for operators.
type Store struct {
	Driver  string    `json:"driver"`
	Place   string    `json:"place"`             // folder, or address without the password; empty for memory
	OK      bool      `json:"ok"`                // operations work, and changes reach the disk
	Since   time.Time `json:"since"`             // since when it works, is down, or does not reach the disk
	Error   string    `json:"error"`             // current fault, or else the last failure; empty if there was none
	ErrorAt time.Time `json:"error_at,omitzero"` // time of the last failure
	Errors  uint64    `json:"errors"`            // failures since the start, including those of probes
	Records int64     `json:"records"`           // approximate number of records at the last probe; -1: unknown
	Bytes   int64     `json:"bytes"`             // approximate size on the disk or in memory at the last probe; -1: unknown
}
