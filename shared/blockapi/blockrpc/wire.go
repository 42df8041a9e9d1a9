package blockrpc

import (
	"google.golang.org/protobuf/proto"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockpb"
	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// The service and its operations, as they stand in subjects.
const (
	service     = "blocks"
	opPut       = "put"
	opGet       = "get"
	opReference = "ref"
	opRelease   = "release"
	opList      = "list"
	opDigests   = "digests"
	opConfirm   = "confirm"
)

// MaxReferences is the most hashes in one request to a node.
const MaxReferences = 4096

const hashBytes = len(object.Hash{})

func marshal(m proto.Message) ([]byte, error) {
	head, err := proto.Marshal(m)
	return head, fault.Wrap(fault.Internal, err, "encode %T", m)
}

func unmarshal(head []byte, m proto.Message) error {
	return fault.Wrap(fault.Invalid, proto.Unmarshal(head, m), "decode %T", m)
}

// fixed copies src into dst, which must be as long.
func fixed(dst, src []byte, what string) error {
	if len(src) != len(dst) {
		return fault.New(fault.Invalid, "%s of %d bytes: want %d", what, len(src), len(dst))
	}
	copy(dst, src)
	return nil
}

func ownerToWire(o blockapi.Owner) *blockpb.Owner {
	return &blockpb.Owner{
		Bucket: o.Bucket[:], Key: []byte(o.Key), Version: o.Version[:], Manifest: o.Manifest[:], Part: o.Part,
	}
}

func ownerFromWire(w *blockpb.Owner) (o blockapi.Owner, err error) {
	o.Key, o.Part = string(w.GetKey()), w.GetPart()
	if !object.ValidKey(o.Key) {
		return o, fault.New(fault.Invalid, "owner without a valid key")
	}
	if err := fixed(o.Bucket[:], w.GetBucket(), "bucket id"); err != nil {
		return o, err
	}
	if err := fixed(o.Version[:], w.GetVersion(), "version id"); err != nil {
		return o, err
	}
	return o, fixed(o.Manifest[:], w.GetManifest(), "manifest id")
}

func putToWire(epoch uint64, o blockapi.Owner, b blockapi.Block) (rpc.Message, error) {
	head, err := marshal(&blockpb.PutRequest{
		Owner: ownerToWire(o), Hash: b.Hash[:], PlainBytes: b.PlainBytes, Encoding: uint32(b.Encoding), Epoch: epoch,
	})
	return rpc.Message{Head: head, Payload: b.Data}, err
}

func putFromWire(m rpc.Message) (epoch uint64, o blockapi.Owner, b blockapi.Block, err error) {
	var w blockpb.PutRequest
	if err := unmarshal(m.Head, &w); err != nil {
		return 0, o, b, err
	}
	if o, err = ownerFromWire(w.GetOwner()); err != nil {
		return 0, o, b, err
	}
	b, err = blockFromWire(w.GetHash(), w.GetPlainBytes(), w.GetEncoding(), m.Payload)
	return w.GetEpoch(), o, b, err
}

func blockFromWire(hash []byte, plainBytes int64, encoding uint32, data []byte) (b blockapi.Block, err error) {
	if encoding > 0xFF {
		return b, fault.New(fault.Invalid, "unknown block encoding %d", encoding)
	}
	b = blockapi.Block{PlainBytes: plainBytes, Encoding: blockapi.Encoding(encoding), Data: data}
	return b, fixed(b.Hash[:], hash, "hash")
}

func hashesToWire(hashes []object.Hash) []byte {
	out := make([]byte, 0, len(hashes)*hashBytes)
	for i := range hashes {
		out = append(out, hashes[i][:]...)
	}
	return out
}

func hashesFromWire(w []byte) ([]object.Hash, error) {
	if len(w)%hashBytes != 0 || len(w) > MaxReferences*hashBytes {
		return nil, fault.New(fault.Invalid, "list of hashes of %d bytes", len(w))
	}
	if len(w) == 0 {
		return nil, nil
	}
	hashes := make([]object.Hash, len(w)/hashBytes)
	for i := range hashes {
		copy(hashes[i][:], w[i*hashBytes:])
	}
	return hashes, nil
}

func releaseToWire(r blockapi.Released) (rpc.Message, error) {
	w := &blockpb.Release{Bucket: r.Bucket[:], Key: []byte(r.Key), Version: r.Version[:]}
	if !r.Manifest.IsZero() {
		w.Manifest = r.Manifest[:]
	}
	head, err := marshal(w)
	return rpc.Message{Head: head}, err
}

func releaseFromWire(m rpc.Message) (r blockapi.Released, err error) {
	var w blockpb.Release
	if err := unmarshal(m.Head, &w); err != nil {
		return r, err
	}
	r.Key = string(w.GetKey())
	if err := fixed(r.Bucket[:], w.GetBucket(), "bucket id"); err != nil {
		return r, err
	}
	if err := fixed(r.Version[:], w.GetVersion(), "version id"); err != nil {
		return r, err
	}
	if len(w.GetManifest()) == 0 {
		return r, nil
	}
	return r, fixed(r.Manifest[:], w.GetManifest(), "manifest id")
}
