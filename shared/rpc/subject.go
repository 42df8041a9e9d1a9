package rpc

import (
	"fmt"

	"hangar/shared/layout"
	"hangar/shared/object"
)

// Every subject of Hangar is made here.
const root = "hangar"

// PartitionSubject reaches all replicas of a partition of a service ("meta",
// "blocks"): op is the operation.
func PartitionSubject(service, op string, p layout.Partition) string {
	return fmt.Sprintf("%s.%s.p.%s.%d", root, service, op, p)
}

// NodeSubject reaches one node of a service.
func NodeSubject(service, op string, n object.NodeID) string {
	return fmt.Sprintf("%s.%s.n.%s.%s", root, service, op, n)
}

// ServiceSubject reaches every node of a service.
func ServiceSubject(service, op string) string {
	return fmt.Sprintf("%s.%s.all.%s", root, service, op)
}

// AnySubject reaches one process of a service, whichever is free: servers
// listen on it in a queue group.
func AnySubject(service, op string) string {
	return fmt.Sprintf("%s.%s.any.%s", root, service, op)
}
