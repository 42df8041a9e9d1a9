package adminapi

import (
	"context"
	"testing"

	"hangar/shared/fault"
	"hangar/shared/rpc"
)

func FuzzRequests(f *testing.F) {
	f.Add([]byte(`{"keyId":"k","name":"n"}`))
	f.Add([]byte(`{"keyId":"k","bucket":"00000000000000000000000000000000"}`))
	f.Add([]byte(`{} {}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		called := 0
		h := handler(func(context.Context, deleteRequest) (empty, error) { called++; return empty{}, nil })
		_, err := h(t.Context(), rpc.Message{Head: b})
		if err != nil && (called > 0 || !fault.Is(err, fault.Invalid)) {
			t.Errorf("%v after %d calls", err, called)
		}
	})
}
