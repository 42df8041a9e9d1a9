package httpapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"hangar/services/admin/internal/httpapi"
)

var update = flag.Bool("update", false, "write docs/openapi.json")

const documentFile = "../../../../docs/openapi.json"

// The document in the repository is the one that the code makes.
func TestDocumentIsUpToDate(t *testing.T) {
	made, err := httpapi.Document()
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, '\n')
	if *update {
		if err := os.WriteFile(documentFile, made, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(documentFile)
	if err != nil || !bytes.Equal(have, made) {
		t.Fatalf("%s is not what the code makes (%v): go test ./services/admin/internal/httpapi -run Document -update", documentFile, err)
	}
}

// leftOut are fields of Garage's answers that ours never have, all of them
// optional: what they tell of is not built, or not counted.
var leftOut = []string{
	"corsRules", "lifecycleRules", "websiteConfig.routingRules", "statistics",
}

// The document has every operation, parameter and field of Garage's.
func TestDocumentCoversGarage(t *testing.T) {
	made, err := httpapi.Document()
	if err != nil {
		t.Fatal(err)
	}
	var doc document
	if err := json.Unmarshal(made, &doc); err != nil {
		t.Fatal(err)
	}
	facts, err := os.ReadFile("testdata/garage-v2.txt")
	if err != nil {
		t.Fatal(err)
	}
	sets := map[string][]string{}
	var op *documented
	operations := 0
	for line := range strings.Lines(string(facts)) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case words[0] == "=":
			sets[words[1]] = words[2:]
		case words[0] == "<" || words[0] == ">":
			fields := words[1:]
			if set, ok := sets[fields[0]]; ok {
				fields = set
			}
			op.compare(t, doc, words[0], fields)
		default:
			operations++
			if op = doc.find(words[0], words[1]); op == nil {
				t.Fatalf("%s %s is missing", words[0], words[1])
			}
			op.compareParameters(t, words[2:])
		}
	}
	if operations < 49 {
		t.Fatalf("only %d operations were compared", operations)
	}
}

type document struct {
	Paths      map[string]map[string]*documented `json:"paths"`
	Components struct {
		Schemas map[string]map[string]any `json:"schemas"`
	} `json:"components"`
}

type documented struct {
	ID         string `json:"operationId"`
	Parameters []struct {
		Name     string `json:"name"`
		In       string `json:"in"`
		Required bool   `json:"required"`
	} `json:"parameters"`
	Body      *content           `json:"requestBody"`
	Responses map[string]content `json:"responses"`
}

type content struct {
	Content map[string]struct {
		Schema map[string]any `json:"schema"`
	} `json:"content"`
}

func (d document) find(method, path string) *documented {
	return d.Paths[path][strings.ToLower(method)]
}

func (o *documented) compareParameters(t *testing.T, words []string) {
	for _, w := range words {
		name, required := strings.CutSuffix(w[1:], "!")
		found := false
		for _, p := range o.Parameters {
			if p.Name == name && p.In == "query" && p.Required == required {
				found = true
			}
		}
		if !found {
			t.Errorf("%s: parameter %s is missing or differs", o.ID, w)
		}
	}
}

// compare looks at a request, of which nothing may be required that Garage does
// not require, or at an answer, which has all that Garage's always has.
func (o *documented) compare(t *testing.T, d document, direction string, fields []string) {
	have := map[string]bool{}
	if direction == "<" {
		d.flatten(o.Body.Content["application/json"].Schema, "", false, have)
	} else {
		d.flatten(o.Responses["200"].Content["application/json"].Schema, "", false, have)
	}
	for _, f := range fields {
		name, theirs := strings.CutSuffix(f, "!")
		ours, ok := have[name]
		switch {
		case direction == ">" && !ok && !theirs && slices.Contains(leftOut, name):
		case !ok:
			t.Errorf("%s %s: field %s is missing", o.ID, direction, name)
		case direction == ">" && theirs && !ours:
			t.Errorf("%s: field %s is always there in Garage's answer, and only sometimes in ours", o.ID, name)
		case direction == "<" && ours && !theirs:
			t.Errorf("%s: field %s is required, and is not by Garage", o.ID, name)
		}
	}
}

// flatten lists the fields of a schema as the facts do, and whether each is
// always there.
func (d document) flatten(s map[string]any, prefix string, choice bool, into map[string]bool) {
	if ref, ok := s["$ref"].(string); ok {
		d.flatten(d.Components.Schemas[path.Base(ref)], prefix, choice, into)
		return
	}
	for _, word := range []string{"anyOf", "oneOf"} {
		alternatives, _ := s[word].([]any)
		for _, a := range alternatives {
			d.flatten(a.(map[string]any), prefix, choice || word == "oneOf", into)
		}
	}
	required, _ := s["required"].([]any)
	properties, _ := s["properties"].(map[string]any)
	for name, p := range properties {
		into[prefix+name] = slices.Contains(required, any(name)) && !choice
		d.flatten(p.(map[string]any), prefix+name+".", false, into)
	}
	under := strings.TrimSuffix(prefix, ".")
	if items, ok := s["items"].(map[string]any); ok {
		d.flatten(items, under+"[].", false, into)
	}
	if values, ok := s["additionalProperties"].(map[string]any); ok {
		d.flatten(values, under+"{}.", false, into)
	}
}
