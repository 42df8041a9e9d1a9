package config_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hangar/shared/config"
)

type nested struct {
	Token string `env:"HANGAR_NATS_TOKEN" file:"true" desc:"Token of the NATS server"`
}

type settings struct {
	Addr    string        `env:"HANGAR_S3_ADDR" envDefault:":3900" desc:"Address of the S3 API"`
	Timeout time.Duration `env:"HANGAR_TIMEOUT" envDefault:"10s" desc:"How long to wait"`
	Level   slog.Level    `env:"HANGAR_LOG_LEVEL" envDefault:"INFO" desc:"Least level"`
	Dir     string        `env:"HANGAR_DATA_DIR,required" desc:"Where data is kept"`
	NATS    nested
	PIN     int `env:"HANGAR_PIN" file:"true" desc:"A secret number"`
}

func (s *settings) Validate() error {
	if s.Timeout < 0 {
		return errNegative
	}
	return nil
}

type constError string

func (e constError) Error() string { return string(e) }

const errNegative = constError("HANGAR_TIMEOUT must not be negative")

const dir = "HANGAR_DATA_DIR=/data"

func write(t *testing.T, content string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParse(t *testing.T) {
	var s settings
	secret := write(t, "line one\nline two \r\n")
	if err := config.Parse(&s, []string{
		dir, "HANGAR_LOG_LEVEL=warn", "HANGAR_TIMEOUT=1m", "HANGAR_NATS_TOKEN_FILE=" + secret,
		"PATH=/bin", "HANGAR_WEB_ADDR=:1", "malformed",
	}, "HANGAR_WEB_ADDR"); err != nil {
		t.Fatal(err)
	}
	want := settings{
		Addr: ":3900", Timeout: time.Minute, Level: slog.LevelWarn, Dir: "/data",
		NATS: nested{Token: "line one\nline two "},
	}
	if s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		name    string
		environ []string
		want    string
	}{
		{"malformed", []string{dir, "HANGAR_TIMEOUT=soon"}, `HANGAR_TIMEOUT: "soon" is not a valid time.Duration`},
		{"malformed text", []string{dir, "HANGAR_LOG_LEVEL=loud"}, `HANGAR_LOG_LEVEL: "loud" is not a valid slog.Level`},
		{"malformed secret", []string{dir, "HANGAR_PIN=hunter2"}, "HANGAR_PIN: its value is malformed"},
		{"missing", nil, "HANGAR_DATA_DIR must be set: Where data is kept"},
		{"misspelt", []string{dir, "HANGAR_S3_ADR=:1"}, "unknown variable HANGAR_S3_ADR: did you mean HANGAR_S3_ADDR?"},
		{"unknown", []string{dir, "HANGAR_COLOUR=red"}, "unknown variable HANGAR_COLOUR: see --help for the known ones"},
		{"not a secret", []string{dir, "HANGAR_S3_ADDR_FILE=x"}, "unknown variable HANGAR_S3_ADDR_FILE: see --help"},
		{"twice", []string{dir, "HANGAR_NATS_TOKEN=a", "HANGAR_NATS_TOKEN_FILE=b"}, "both HANGAR_NATS_TOKEN and HANGAR_NATS_TOKEN_FILE are set"},
		{"no file", []string{dir, "HANGAR_NATS_TOKEN_FILE=/does/not/exist"}, "HANGAR_NATS_TOKEN_FILE: open /does/not/exist"},
		{"invalid", []string{dir, "HANGAR_TIMEOUT=-1s"}, string(errNegative)},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := config.Parse(&settings{}, c.environ)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Error("the error shows the secret")
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var b strings.Builder
	if err := config.Help(&b, settings{}); err != nil {
		t.Fatal(err)
	}
	want := `  HANGAR_S3_ADDR     Address of the S3 API (default :3900)
  HANGAR_TIMEOUT     How long to wait (default 10s)
  HANGAR_LOG_LEVEL   Least level (default INFO)
  HANGAR_DATA_DIR    Where data is kept (required)
  HANGAR_NATS_TOKEN  Token of the NATS server [or HANGAR_NATS_TOKEN_FILE]
  HANGAR_PIN         A secret number [or HANGAR_PIN_FILE]
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	if err := config.Markdown(&b, &settings{}); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| `HANGAR_S3_ADDR` | `:3900` | Address of the S3 API |\n",
		"| `HANGAR_DATA_DIR` | required | Where data is kept |\n",
		"| `HANGAR_PIN`<br>`HANGAR_PIN_FILE` |  | A secret number |\n",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("no %q in\n%s", line, b.String())
		}
	}
}

func TestSelectHandsOnWhatIsRead(t *testing.T) {
	type settings struct {
		Addr  string `env:"HANGAR_ADDR"`
		Token string `env:"HANGAR_TOKEN" file:"true"`
	}
	got := config.Select([]string{"PATH=/bin", "HANGAR_ADDR=a", "HANGAR_ADDR_FILE=f", "HANGAR_TOKEN_FILE=t", "HANGAR_OTHER=o", "HANGAR_TEST_X=x"}, settings{})
	if want := "[PATH=/bin HANGAR_ADDR=a HANGAR_TOKEN_FILE=t HANGAR_TEST_X=x]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestVariablesOfTestsAreNoSettings(t *testing.T) {
	var cfg struct {
		Addr string `env:"HANGAR_ADDR"`
	}
	if err := config.Parse(&cfg, []string{"HANGAR_ADDR=a", "HANGAR_TEST_REQUIRE_NETNS=1"}); err != nil || cfg.Addr != "a" {
		t.Errorf("got %+v, %v", cfg, err)
	}
}

func TestVariablesOfTheCommandLineDisturbNoService(t *testing.T) {
	var cfg struct {
		Addr string `env:"HANGAR_ADDR"`
	}
	environ := []string{"HANGAR_ADDR=a", "HANGAR_ADMIN_ENDPOINT=e", "HANGAR_ADMIN_TOKEN=t"}
	if err := config.Parse(&cfg, environ); err != nil || cfg.Addr != "a" {
		t.Errorf("got %+v, %v", cfg, err)
	}
	// A file that the command line could not read does not stop a service.
	if err := config.Parse(&cfg, []string{"HANGAR_ADMIN_TOKEN_FILE=/does/not/exist"}); err != nil {
		t.Error(err)
	}
	if got := config.Select(environ, cfg); fmt.Sprint(got) != "[HANGAR_ADDR=a]" {
		t.Errorf("handed on: %v", got)
	}
}
