package harness

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// SDK returns an aws-sdk-go-v2 client with its default settings.
func SDK(endpoint string, opts ...func(*s3.Options)) *s3.Client {
	all := append([]func(*s3.Options){func(o *s3.Options) {
		o.BaseEndpoint = aws.String(endpoint)
		o.Region = Region
		o.UsePathStyle = true
		o.Credentials = credentials.NewStaticCredentialsProvider(AccessKey, SecretKey, "")
	}}, opts...)
	return s3.New(s3.Options{}, all...)
}

// ClientEnv is the environment that command line clients understand.
func ClientEnv(home, endpoint string) []string {
	return []string{
		"HOME=" + home,
		"AWS_ACCESS_KEY_ID=" + AccessKey, "AWS_SECRET_ACCESS_KEY=" + SecretKey,
		"AWS_DEFAULT_REGION=" + Region, "AWS_REGION=" + Region,
		"AWS_CA_BUNDLE=", "AWS_ENDPOINT_URL=" + endpoint, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + filepath.Join(home, "aws-config"),
		"AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(home, "aws-credentials"),
		"RCLONE_CONFIG=" + filepath.Join(home, "rclone.conf"),
		"RCLONE_CONFIG_HANGAR_TYPE=s3", "RCLONE_CONFIG_HANGAR_PROVIDER=Other",
		"RCLONE_CONFIG_HANGAR_ENDPOINT=" + endpoint, "RCLONE_CONFIG_HANGAR_REGION=" + Region,
		"RCLONE_CONFIG_HANGAR_ACCESS_KEY_ID=" + AccessKey, "RCLONE_CONFIG_HANGAR_SECRET_ACCESS_KEY=" + SecretKey,
		"RESTIC_PASSWORD=correct horse battery staple",
		"RESTIC_CACHE_DIR=" + filepath.Join(home, "restic-cache"),
	}
}

// Command runs an installed client and returns what it printed to stdout; the
// test fails when it does.
func Command(t testing.TB, env []string, name string, args ...string) string {
	t.Helper()
	out, err := TryCommand(t, env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return out
}

// TryCommand is Command for calls that may fail; the error carries stderr.
func TryCommand(t testing.TB, env []string, name string, args ...string) (string, error) {
	t.Helper()
	path, err := installed(name)
	if err != nil {
		t.Fatalf("%s is not installed: run `make clients`", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), &CommandError{Err: err, Stderr: errs.String()}
	}
	return out.String(), nil
}

// installed prefers the distribution's clients to shims of version managers,
// which may point nowhere.
func installed(name string) (string, error) {
	if path := filepath.Join("/usr/bin", name); name != "python3" {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

// CommandError is the failure of a client.
type CommandError struct {
	Err    error
	Stderr string
}

func (e *CommandError) Error() string { return e.Err.Error() + "\n" + e.Stderr }

func (e *CommandError) Unwrap() error { return e.Err }

// SDKWithKey is SDK for another access key.
func SDKWithKey(endpoint, id, secret string) *s3.Client {
	return SDK(endpoint, func(o *s3.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider(id, secret, "")
	})
}

// DialTo returns a dialer that goes to addr whatever it is asked for.
func DialTo(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
}
