// Package sendmail tests milterd behind a real Sendmail.
package sendmail

import (
	"testing"

	"milterd/cmd/milterd/e2e/mtacases"
	"milterd/milter/miltertest"
)

func TestSendmail(t *testing.T) {
	mtacases.Run(t, func(s *miltertest.Site) *miltertest.MTA { return s.Sendmail(t) })
}
