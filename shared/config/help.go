package config

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Help writes the settings of cfg as text for --help.
func Help(w io.Writer, cfg any) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range Fields(cfg) {
		if _, err := fmt.Fprintf(tw, "  %s\t%s%s\n", f.Name, f.Desc, f.notes()); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// notes is what --help says of a setting after its description.
func (f Field) notes() string {
	s := ""
	switch {
	case f.Required:
		s = " (required)"
	case f.Default != "":
		s = " (default " + f.Default + ")"
	}
	if f.Secret {
		s += " [or " + f.Name + fileSuffix + "]"
	}
	return s
}

// Markdown writes the settings of cfg as a table for docs/config.md.
func Markdown(w io.Writer, cfg any) error {
	if _, err := io.WriteString(w, "| Variable | Default | Meaning |\n|---|---|---|\n"); err != nil {
		return err
	}
	for _, f := range Fields(cfg) {
		name, def := "`"+f.Name+"`", ""
		if f.Secret {
			name += "<br>`" + f.Name + fileSuffix + "`"
		}
		switch {
		case f.Required:
			def = "required"
		case f.Default != "":
			def = "`" + f.Default + "`"
		}
		if _, err := fmt.Fprintf(w, "| %s | %s | %s |\n", name, def, f.Desc); err != nil {
			return err
		}
	}
	return nil
}

// nearest is the name among known that is at most two edits from name.
func nearest(name string, known []string) string {
	best, hint := 3, ""
	for _, k := range known {
		if d := distance(name, k); d < best {
			best, hint = d, k
		}
	}
	return hint
}

// distance is the Levenshtein distance of two names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
