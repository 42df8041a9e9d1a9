// Package config reads a service's settings from environment variables into a
// struct and describes them from the same struct, so that the help text and the
// documentation cannot differ from the code.
//
// A setting is a field with these tags:
//
//	env:"HANGAR_S3_ADDR"       the variable, full name
//	envDefault:":3900"         its default
//	desc:"Address of ..."      what it is for
//	file:"true"                a secret: <NAME>_FILE may name a file holding it
//
// Structs nest; envPrefix is not used. Options of caarlos0/env apply:
// env:"HANGAR_X,required", `envSeparator`.
package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Prefix of every variable of ours. One that carries it and is not known is an
// error: a misspelt setting must not silently be its default.
const Prefix = "HANGAR_"

const fileSuffix = "_FILE"

// testPrefix begins variables that tests and what they look at share. They are
// no settings, and are not checked.
const testPrefix = Prefix + "TEST_"

// Field describes one setting.
type Field struct {
	// Name of the variable.
	Name string
	// Default as text; empty when there is none.
	Default string
	// Desc says what the setting is for.
	Desc string
	// Required settings have no default and must be given.
	Required bool
	// Secret settings may also come from a file named by Name_FILE.
	Secret bool
}

// CommandLine are the settings of the hangar command line. Services are started
// from shells that have them for it, so Parse knows them everywhere.
type CommandLine struct {
	AdminEndpoint string `env:"HANGAR_ADMIN_ENDPOINT" desc:"Address of the Admin API that the command line talks to, such as http://127.0.0.1:3903"`
	AdminToken    string `env:"HANGAR_ADMIN_TOKEN" file:"true" desc:"Admin token that the command line presents"`
	K2VEndpoint   string `env:"HANGAR_K2V_ENDPOINT" desc:"Address of the K2V API that hangar k2v talks to, such as http://127.0.0.1:3904; the key is that of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"`
}

// Validator is implemented by settings that have rules between them.
type Validator interface{ Validate() error }

// Parse fills cfg, a pointer to a struct, from environ ("NAME=value", as
// os.Environ returns it) and calls its Validate, if it has one. Variables named
// in others belong to other parts of the program and are ignored. An error is
// one line that names the variable.
func Parse(cfg any, environ []string, others ...string) error {
	fields := Fields(cfg)
	vars := make(map[string]string)
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, Prefix) && !strings.HasPrefix(name, testPrefix) {
			vars[name] = value
		}
	}
	if err := checkNames(vars, fields, others); err != nil {
		return err
	}
	if err := readFiles(vars, fields); err != nil {
		return err
	}
	if err := env.ParseWithOptions(cfg, env.Options{Environment: vars}); err != nil {
		return explain(cfg, vars, fields, err)
	}
	if v, ok := cfg.(Validator); ok {
		return v.Validate()
	}
	return nil
}

// Select returns the part of environ that a program with the settings cfg may
// be given: what cfg reads, every variable without our prefix, and those of
// tests.
func Select(environ []string, cfg any) (out []string) {
	known := map[string]bool{}
	for _, f := range Fields(cfg) {
		known[f.Name] = true
		known[f.Name+fileSuffix] = f.Secret
	}
	for _, e := range environ {
		if name, _, _ := strings.Cut(e, "="); known[name] || !strings.HasPrefix(name, Prefix) || strings.HasPrefix(name, testPrefix) {
			out = append(out, e)
		}
	}
	return out
}

// Fields lists the settings of cfg, a struct or a pointer to one, in order.
func Fields(cfg any) []Field {
	t := reflect.TypeOf(cfg)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var fields []Field
	for f := range t.Fields() {
		name, flags, _ := strings.Cut(f.Tag.Get("env"), ",")
		if name != "" {
			fields = append(fields, Field{
				Name:     name,
				Default:  f.Tag.Get("envDefault"),
				Desc:     f.Tag.Get("desc"),
				Required: slices.Contains(strings.Split(flags, ","), "required"),
				Secret:   f.Tag.Get("file") == "true",
			})
		} else if f.Type.Kind() == reflect.Struct {
			for _, inner := range Fields(reflect.Zero(f.Type).Interface()) {
				// Services that share a process may share a setting.
				if !slices.ContainsFunc(fields, func(f Field) bool { return f.Name == inner.Name }) {
					fields = append(fields, inner)
				}
			}
		}
	}
	return fields
}

// checkNames refuses variables that carry the prefix and mean nothing.
func checkNames(vars map[string]string, fields []Field, others []string) error {
	known := slices.Clone(others)
	for _, f := range slices.Concat(fields, Fields(CommandLine{})) {
		known = append(known, f.Name)
		if f.Secret {
			known = append(known, f.Name+fileSuffix)
		}
	}
	var unknown []string
	for name := range vars {
		if !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	if hint := nearest(unknown[0], known); hint != "" {
		return fmt.Errorf("unknown variable %s: did you mean %s?", unknown[0], hint)
	}
	return fmt.Errorf("unknown variable %s: see --help for the known ones", unknown[0])
}

// readFiles puts the content of the files that NAME_FILE variables name in the
// place of NAME, less the line break that editors leave at the end.
func readFiles(vars map[string]string, fields []Field) error {
	for _, f := range fields {
		path := vars[f.Name+fileSuffix]
		if !f.Secret || path == "" {
			continue
		}
		if vars[f.Name] != "" {
			return fmt.Errorf("both %s and %s%s are set: give one", f.Name, f.Name, fileSuffix)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%s%s: %w", f.Name, fileSuffix, err)
		}
		vars[f.Name] = strings.TrimRight(string(b), "\r\n")
	}
	return nil
}

// explain finds the variable that err, an error of the parser, is about: the
// parser names Go fields, operators know variables.
func explain(cfg any, vars map[string]string, fields []Field, err error) error {
	for _, f := range fields {
		value, given := vars[f.Name]
		if !given && f.Required {
			return fmt.Errorf("%s must be set: %s", f.Name, f.Desc)
		}
		if !given {
			continue
		}
		blank := reflect.New(reflect.TypeOf(cfg).Elem()).Interface()
		one := env.Options{Environment: map[string]string{f.Name: value}}
		var pe env.ParseError
		if e := env.ParseWithOptions(blank, one); errors.As(e, &pe) {
			if f.Secret {
				return fmt.Errorf("%s: its value is malformed", f.Name)
			}
			return fmt.Errorf("%s: %q is not a valid %v", f.Name, value, pe.Type)
		}
	}
	return err
}
