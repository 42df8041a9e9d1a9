package metatest

import (
	"testing"

	"hangar/shared/metaapi"
)

func TestFakeRows(t *testing.T) {
	RunRows(t, func(*testing.T) metaapi.Rows { return NewRows() })
}
