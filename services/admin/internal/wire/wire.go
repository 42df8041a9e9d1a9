// Package wire has the JSON shapes of the Admin API, which are those of
// Garage's version 2 with extensions, and writes the domain in them. It is pure:
// what a request means and what is done about it is decided in package httpapi.
package wire

// ErrorBody is what an operation that failed answers; Garage's shape.
type ErrorBody struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Region  string `json:"region"`
	Path    string `json:"path"`
}

// NonNil makes an empty list of a missing one: clients expect [], not null.
func NonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
