package admin_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

// contract checks answers against docs/openapi.json.
type contract struct {
	t *testing.T
	// operations that the document has, and which of them answered well.
	operations map[string]op
	answered   map[string]bool
}

type op struct {
	name, method, path string
	open               bool
	answer, problem    *jsonschema.Resolved
}

func readContract(t *testing.T) *contract {
	t.Helper()
	b, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	// Schemas refer to each other where JSON schema looks for them.
	var doc map[string]any
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(b), "#/components/schemas/", "#/$defs/")), &doc); err != nil {
		t.Fatal(err)
	}
	strict(doc)
	defs := doc["components"].(m)["schemas"]
	c := &contract{t: t, operations: map[string]op{}, answered: map[string]bool{}}
	for path, item := range doc["paths"].(m) {
		for method, described := range item.(m) {
			d := described.(m)
			o := op{name: d["operationId"].(string), method: strings.ToUpper(method), path: path}
			security, ok := d["security"].([]any)
			o.open = ok && len(security[0].(m)) == 0
			answers := d["responses"].(m)
			o.answer, o.problem = c.schema(answers["200"], defs), c.schema(answers["default"], defs)
			c.operations[o.name] = o
		}
	}
	return c
}

// strict lets no answer have fields that the document does not name.
func strict(v any) {
	switch v := v.(type) {
	case m:
		_, object := v["properties"].(m)
		if _, ok := v["additionalProperties"]; object && !ok {
			v["additionalProperties"] = false
		}
		for _, x := range v {
			strict(x)
		}
	case []any:
		for _, x := range v {
			strict(x)
		}
	}
}

// schema resolves the schema of an answer, nil when it has no body.
func (c *contract) schema(answer, defs any) *jsonschema.Resolved {
	body, ok := answer.(m)["content"].(m)
	if !ok {
		return nil
	}
	whole := m{"$defs": defs, "allOf": []any{body["application/json"].(m)["schema"]}}
	b, err := json.Marshal(whole)
	if err != nil {
		c.t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(b, &s); err != nil {
		c.t.Fatal(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// check fails the test unless an answer is what the document says.
func (c *contract) check(o op, a answer) {
	c.t.Helper()
	schema := o.problem
	if a.status/100 == 2 {
		schema = o.answer
		c.answered[o.name] = true
	}
	if schema == nil {
		if len(a.body) > 0 && strings.HasPrefix(o.path, "/v2/") {
			c.t.Errorf("%s answers %s, and should answer nothing", o.name, a.body)
		}
		return
	}
	var v any
	if err := json.Unmarshal(a.body, &v); err != nil {
		if !strings.HasPrefix(o.path, "/v2/") {
			return // text for people
		}
		c.t.Errorf("%s: %v: %s", o.name, err, a.body)
		return
	}
	if err := schema.Validate(v); err != nil {
		c.t.Errorf("%s: %d %s: %v", o.name, a.status, a.body, err)
	}
}

// names lists the operations, sorted.
func (c *contract) names() (names []string) {
	for name := range c.operations {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
