// Package record is the stored form of S3's rows: objects, unfinished uploads
// and their parts, and manifests (lists of blocks). It is the one place that
// knows their bytes and the names of their rows; docs/format/objects.md
// describes both. The gateway writes and reads them; the block service asks
// through Verifier whether an owner of blocks still lives.
//
// Every record starts with a format version. Decoders accept exactly what the
// encoders write, answer everything else with an error of kind Corrupt, and
// never allocate more than a small multiple of what they are given.
package record
