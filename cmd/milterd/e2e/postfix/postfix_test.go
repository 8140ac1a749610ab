// Package postfix tests milterd behind a real Postfix.
package postfix

import (
	"testing"

	"milterd/cmd/milterd/e2e/mtacases"
	"milterd/milter/miltertest"
)

func TestPostfix(t *testing.T) {
	mtacases.Run(t, func(s *miltertest.Site) *miltertest.MTA { return s.Postfix(t) })
}
