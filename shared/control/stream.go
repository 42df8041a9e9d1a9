package control

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"hangar/shared/fault"
)

// What every process may say to and hear from the control stream, and nothing
// else: two questions that change nothing, and that something has changed. No
// consumer is made: whoever may make one chooses what it is delivered to. See
// docs/adr/0021.
const (
	// InfoSubject asks the stream's leader how far the stream goes, where the stream
	// is in another account of NATS, which exports StreamInfoSubject by this name.
	// The account of the services has that subject too, and it answers that there is
	// no JetStream.
	InfoSubject = "hangar.control.info"
	// StreamInfoSubject asks the same in the stream's own account.
	StreamInfoSubject = "$JS.API.STREAM.INFO." + streamName
	// ReadSubject asks any replica for the records from a revision on.
	ReadSubject = "$JS.API.DIRECT.GET." + streamName
	// ChangedSubject is where the stream says that it has a new record, without
	// the record.
	ChangedSubject = "hangar.control.changed.>"
)

// lastSubject asks the stream's leader for the record of a key.
const lastSubject = "$JS.API.STREAM.MSG.GET." + streamName

// A batch of records that is read at once ends after so many records or bytes.
const (
	batchRecords = 512
	batchBytes   = 4 << 20
)

// Headers of records that were asked for, as ADR-31 of NATS has them.
const (
	subjectHeader  = "Nats-Subject"
	sequenceHeader = "Nats-Sequence"
	beforeHeader   = "Nats-Last-Sequence" // of the message before in the same batch
	pendingHeader  = "Nats-Num-Pending"
)

// extent is how far the stream goes, as its leader has it.
type extent struct {
	created time.Time
	last    Revision
	empty   bool
}

// record is an entry and its key.
type record struct {
	key string
	entry
}

// ask sends a request to JetStream and reads the JSON of its answer into out.
func ask(ctx context.Context, nc *nats.Conn, subject string, request []byte, out any) error {
	msg, err := nc.RequestWithContext(ctx, subject, request)
	if err != nil {
		return err
	}
	var failed struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &failed); err != nil {
		return fault.Wrap(fault.Corrupt, err, "answer of JetStream")
	}
	switch {
	case failed.Error == nil:
		return json.Unmarshal(msg.Data, out)
	case failed.Error.ErrorCode == jetstream.JSErrCodeStreamNotFound:
		return jetstream.ErrStreamNotFound
	case failed.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return jetstream.ErrMsgNotFound
	}
	return failed.Error
}

// readExtent asks the leader, by a subject that reaches it from the account of nc.
func readExtent(ctx context.Context, nc *nats.Conn, subject string) (extent, error) {
	var info struct {
		Created time.Time `json:"created"`
		State   struct {
			Messages uint64   `json:"messages"`
			LastSeq  Revision `json:"last_seq"`
		} `json:"state"`
	}
	if err := ask(ctx, nc, subject, nil, &info); err != nil {
		return extent{}, fault.Wrap(fault.Unavailable, err, "control stream")
	}
	return extent{info.Created, info.State.LastSeq, info.State.Messages == 0}, nil
}

// readLast asks the leader for the record of a key: ErrMsgNotFound when there is
// none. The client library would ask any replica.
func readLast(ctx context.Context, nc *nats.Conn, key string) (e entry, err error) {
	request, err := json.Marshal(map[string]string{"last_by_subj": subjectPrefix + key})
	if err != nil {
		return e, err
	}
	var got struct {
		Message struct {
			Sequence Revision `json:"seq"`
			Header   []byte   `json:"hdrs"`
			Data     []byte   `json:"data"`
		} `json:"message"`
	}
	if err := ask(ctx, nc, lastSubject, request, &got); err != nil {
		return e, err
	}
	e = entry{value: got.Message.Data, rev: got.Message.Sequence}
	if len(got.Message.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(got.Message.Header)
		if err != nil {
			return e, fault.Wrap(fault.Corrupt, err, "header of control record %q", key)
		}
		e.marker = h.Get(operationKey) != ""
	}
	return e, nil
}

// errGap says that a message of a batch was lost on its way.
var errGap = fault.New(fault.Unavailable, "a control record was lost on its way")

// readFrom returns the records from a revision on, in order, and whether more
// follow. Any replica may have answered: it may be behind.
func readFrom(ctx context.Context, nc *nats.Conn, from Revision) (records []record, more bool, err error) {
	sub, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return nil, false, err
	}
	// Fails only when the connection, and with it the subscription, has gone.
	defer func() { _ = sub.Unsubscribe() }()
	request, err := json.Marshal(map[string]uint64{"seq": max(from, 1), "batch": batchRecords, "max_bytes": batchBytes})
	if err != nil {
		return nil, false, err
	}
	if err := nc.PublishRequest(ReadSubject, sub.Subject, request); err != nil {
		return nil, false, err
	}
	last := Revision(0)
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, false, err
		}
		status := msg.Header.Get("Status")
		switch {
		case status == "404": // nothing from there on
			return nil, false, nil
		case status != "" && status != "204":
			return nil, false, fault.New(fault.Unavailable, "reading control records: %s %s", status, msg.Header.Get("Description"))
		case msg.Header.Get(beforeHeader) != strconv.FormatUint(last, 10):
			return nil, false, errGap
		case status == "204":
			return records, msg.Header.Get(pendingHeader) != "0", nil
		}
		if last, err = strconv.ParseUint(msg.Header.Get(sequenceHeader), 10, 64); err != nil {
			return nil, false, fault.Wrap(fault.Internal, err, "control record without position")
		}
		key, ours := strings.CutPrefix(msg.Header.Get(subjectHeader), subjectPrefix)
		if !ours {
			return nil, false, fault.New(fault.Internal, "control record of %q", msg.Header.Get(subjectHeader))
		}
		records = append(records, record{key, entry{msg.Data, last, msg.Header.Get(operationKey) != ""}})
	}
}
