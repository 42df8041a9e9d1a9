// Package k2v is a client of the K2V API, which Hangar serves on port 3904
// beside S3. It speaks the published API of Garage, so it works with that too.
//
// K2V stores small values in buckets under two keys: a partition key and, in
// the partition, a sort key. Items of one partition are listed, polled and
// deleted together; items of different partitions know nothing of each other.
//
// # Concurrent values
//
// A read returns an [Item]: its values and a causality [Token] that says what
// the reader has seen. A write that carries the token replaces what the token
// has seen, and nothing else. If two clients write without knowing of each
// other, the item keeps both values, and every reader sees both until somebody
// writes with a token that has seen them. No write is ever lost to another one
// that did not know it. [Client.Update] does the usual thing: read, let a
// function of the caller make one value of all, write that with the token.
//
// A write without a token (the first of an item) replaces nothing.
//
// # What an error says
//
// Errors are of type *[Error] and match one of [ErrNotFound], [ErrNoBucket],
// [ErrConflict], [ErrDenied], [ErrInvalid], [ErrTooLarge], [ErrUnavailable] and
// [ErrIndeterminate] with errors.Is. Of all but the last it is known that the
// operation was not done (of a batch, see [Client.InsertBatch]). ErrIndeterminate is a write that may have been done or
// may yet be: the connection was lost, or too few replicas confirmed it. Read
// the item to find out; never take it as failed.
//
// # Retries
//
// An operation is tried up to [Options.Attempts] times, with a growing, random
// pause between (or as long as the server asks for):
//
//   - Reads and polls, whenever there is no answer, or a status 5xx or 429.
//   - Inserts and deletes of items, alone or in batches, in the same cases. A
//     write may so be done twice, with the same token. If nobody wrote in
//     between, this makes two equal concurrent values, which the server returns
//     as one. If somebody read the first and replaced it in between, the value
//     comes back as a concurrent one beside theirs: a conflict, which the next
//     Update resolves. Nothing is lost in either case. Who does not want that
//     sets Attempts to 1.
//   - [Client.DeleteBatch] only when it is known that nothing was done: deleting
//     a range again might delete what was written since.
//
// If one attempt of a write has an unknown outcome and none of those after it
// succeeds, the error is ErrIndeterminate, whatever the last attempt said.
package k2v
