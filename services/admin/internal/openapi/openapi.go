// Package openapi writes the document that describes an HTTP API of JSON, out
// of a table of its operations and the Go types of their bodies. What the
// document says and what the code sends and reads cannot drift apart.
package openapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// API is an API to be described.
type API struct {
	Title, Version, Description string
	Operations                  []Operation
	// Schemas are those of types that write themselves as JSON.
	Schemas map[reflect.Type]*jsonschema.Schema
	// Problem is the body of answers that are errors.
	Problem reflect.Type
}

// Operation is a method on a path.
type Operation struct {
	Name, Method, Path, Tag, Summary string
	Parameters                       []Parameter
	// In and Out are the types of the bodies; nil means that there is none.
	In, Out reflect.Type
	// Open operations need no token.
	Open bool
	// Failures are the statuses of errors that are usual.
	Failures []int
}

// Parameter is a parameter of the query.
type Parameter struct {
	Name, Summary string
	// Type is one of JSON schema; empty means "string".
	Type     string
	Required bool
}

type (
	object = map[string]any
	list   = []any
)

// Document returns the API's OpenAPI 3.1 document as indented JSON. The same
// table yields the same bytes.
func (a API) Document() ([]byte, error) {
	types := a.collect()
	schemas, err := types.schemas()
	if err != nil {
		return nil, err
	}
	paths := object{}
	for _, op := range a.Operations {
		described, err := types.operation(op, a.Problem)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op.Name, err)
		}
		item, ok := paths[op.Path].(object)
		if !ok {
			item = object{}
			paths[op.Path] = item
		}
		item[strings.ToLower(op.Method)] = described
	}
	return json.MarshalIndent(object{
		"openapi":  "3.1.0",
		"info":     object{"title": a.Title, "version": a.Version, "description": a.Description},
		"paths":    paths,
		"security": list{object{"bearer": list{}}},
		"components": object{
			"schemas":         schemas,
			"securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer"}},
		},
	}, "", "  ")
}

// types are the types of an API: those with a name of their own in the
// document, and how to write them.
type types struct {
	named map[string]reflect.Type
	// whole are schemas to write where a type occurs, refs those for named ones.
	whole, refs map[reflect.Type]*jsonschema.Schema
}

// collect finds the structs that are worth a name: all but those without one in
// Go, generic ones, and those embedded in others.
func (a API) collect() *types {
	t := &types{
		named: map[string]reflect.Type{},
		whole: map[reflect.Type]*jsonschema.Schema{reflect.TypeFor[time.Time](): {Type: "string", Format: "date-time"}},
		refs:  map[reflect.Type]*jsonschema.Schema{},
	}
	for k, s := range a.Schemas {
		t.whole[k] = s
	}
	embedded := map[reflect.Type]bool{}
	seen := map[reflect.Type]bool{}
	for _, op := range a.Operations {
		t.walk(op.In, seen, embedded)
		t.walk(op.Out, seen, embedded)
	}
	t.walk(a.Problem, seen, embedded)
	for s := range seen {
		if s.Name() != "" && !strings.Contains(s.Name(), "[") && !embedded[s] {
			name := strings.ToUpper(s.Name()[:1]) + s.Name()[1:]
			t.named[name] = s
			t.refs[s] = &jsonschema.Schema{Ref: "#/components/schemas/" + name}
		}
	}
	return t
}

func (t *types) walk(r reflect.Type, seen, embedded map[reflect.Type]bool) {
	if r == nil || t.whole[r] != nil {
		return
	}
	switch r.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		t.walk(r.Elem(), seen, embedded)
	case reflect.Struct:
		if seen[r] || r.NumField() == 0 {
			return
		}
		seen[r] = true
		for i := range r.NumField() {
			f := r.Field(i)
			if f.Anonymous {
				embedded[f.Type] = true
			}
			t.walk(f.Type, seen, embedded)
		}
	}
}

func (t *types) schemas() (object, error) {
	out := object{}
	for name, r := range t.named {
		s, err := t.write(r, r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = s
	}
	return out, nil
}

// write returns the schema of r, with references to named types other than self.
func (t *types) write(r, self reflect.Type) (*jsonschema.Schema, error) {
	known := map[reflect.Type]*jsonschema.Schema{}
	for k, s := range t.whole {
		known[k] = s
	}
	for k, s := range t.refs {
		if k != self {
			known[k] = s
		}
	}
	s, err := jsonschema.ForType(r, &jsonschema.ForOptions{TypeSchemas: known})
	if err != nil {
		return nil, err
	}
	return tidy(s), nil
}

// tidy makes a schema say what this API means: lists are never null, what is
// unknown is to be ignored, and null beside a reference is an alternative.
func tidy(s *jsonschema.Schema) *jsonschema.Schema {
	if s == nil {
		return nil
	}
	if slices.Equal(s.Types, []string{"null", "array"}) {
		s.Type, s.Types = "array", nil
	}
	if slices.Equal(s.Types, []string{"null"}) && (s.Ref != "" || s.OneOf != nil) {
		inner := *s
		inner.Types, inner.Description = nil, ""
		s = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "null"}, &inner}, Description: s.Description}
	}
	if s.Properties != nil {
		s.AdditionalProperties = nil
		for k, p := range s.Properties {
			s.Properties[k] = tidy(p)
		}
	} else {
		s.AdditionalProperties = tidy(s.AdditionalProperties)
	}
	s.Items = tidy(s.Items)
	return s
}

func (t *types) operation(op Operation, problem reflect.Type) (object, error) {
	out := object{"operationId": op.Name, "tags": list{op.Tag}, "summary": op.Summary}
	if op.Open {
		out["security"] = list{object{}}
	}
	if len(op.Parameters) > 0 {
		var ps list
		for _, p := range op.Parameters {
			kind := p.Type
			if kind == "" {
				kind = "string"
			}
			ps = append(ps, object{
				"name": p.Name, "in": "query", "required": p.Required, "description": p.Summary, "schema": object{"type": kind},
			})
		}
		out["parameters"] = ps
	}
	if op.In != nil {
		in, err := t.content(op.In)
		if err != nil {
			return nil, err
		}
		out["requestBody"] = object{"required": true, "content": in}
	}
	ok := object{"description": "Done."}
	if op.Out != nil {
		content, err := t.content(op.Out)
		if err != nil {
			return nil, err
		}
		ok["content"] = content
	}
	failed, err := t.content(problem)
	if err != nil {
		return nil, err
	}
	answers := object{"200": ok, "default": object{"description": "An error.", "content": failed}}
	for _, status := range op.Failures {
		answers[fmt.Sprint(status)] = object{"description": "See the summary."}
	}
	out["responses"] = answers
	return out, nil
}

func (t *types) content(r reflect.Type) (object, error) {
	s, err := t.write(r, nil)
	if err != nil {
		return nil, err
	}
	return object{"application/json": object{"schema": s}}, nil
}
