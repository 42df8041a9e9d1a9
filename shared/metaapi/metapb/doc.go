// Package metapb holds the wire messages of package metaapi.
package metapb

//go:generate protoc --plugin=protoc-gen-go=../../../.tools/bin/protoc-gen-go --go_out=. --go_opt=paths=source_relative meta.proto repair.proto
