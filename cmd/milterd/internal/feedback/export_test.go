package feedback

import "context"

// InMessage is for tests.
var InMessage = inMessage

// ReadWithin is Read with another limit of records. It returns what was read before an error.
func ReadWithin(ctx context.Context, paths []string, maxRecords int) (*Result, error) {
	s := &search{seen: map[string]bool{}, maxRecords: maxRecords}
	err := s.read(ctx, paths)
	return &s.Result, err
}
