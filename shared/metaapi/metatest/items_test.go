package metatest_test

import (
	"testing"

	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
)

func TestItems(t *testing.T) {
	metatest.RunItems(t, func(*testing.T) metaapi.ItemRows { return metatest.NewItems() })
}
