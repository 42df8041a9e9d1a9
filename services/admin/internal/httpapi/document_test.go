package httpapi_test

import (
	"bytes"
	"flag"
	"os"
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
