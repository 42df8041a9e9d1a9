// Package blockpb is the generated wire form of package blockapi.
package blockpb

//go:generate protoc --plugin=protoc-gen-go=../../../.tools/bin/protoc-gen-go --go_out=. --go_opt=paths=source_relative block.proto
