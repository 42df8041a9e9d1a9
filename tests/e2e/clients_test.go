package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"hangar/tests/harness"
)

func TestAWSCLI(t *testing.T) {
	s := sharedServer(t)
	home := t.TempDir()
	env := harness.ClientEnv(home, s.S3)
	aws := func(args ...string) string {
		t.Helper()
		return harness.Command(t, env, "aws", append([]string{"--endpoint-url", s.S3}, args...)...)
	}
	small, large := filepath.Join(home, "small.txt"), filepath.Join(home, "large.bin")
	writeFile(t, small, []byte("hello hangar\n"))
	writeFile(t, large, content(1, 20<<20)) // above the client's multipart threshold
	bucket := "awscli-bucket"

	aws("s3", "mb", "s3://"+bucket)
	aws("s3", "cp", small, "s3://"+bucket+"/dir/small.txt")
	aws("s3", "cp", large, "s3://"+bucket+"/dir/large.bin", "--metadata", "color=blue")
	if out := aws("s3", "ls", "s3://"+bucket+"/", "--recursive"); !strings.Contains(out, "dir/small.txt") || !strings.Contains(out, "20971520 dir/large.bin") {
		t.Fatalf("ls printed %q", out)
	}
	if out := aws("s3", "ls", "s3://"+bucket); !strings.Contains(out, "PRE dir/") {
		t.Fatalf("ls printed %q", out)
	}
	aws("s3", "cp", "s3://"+bucket+"/dir/large.bin", filepath.Join(home, "back.bin"))
	same(t, large, filepath.Join(home, "back.bin"))
	if out := aws("s3api", "head-object", "--bucket", bucket, "--key", "dir/large.bin"); !strings.Contains(out, `"color": "blue"`) {
		t.Fatalf("head-object printed %s", out)
	}
	aws("s3", "cp", "s3://"+bucket+"/dir/large.bin", "s3://"+bucket+"/copy.bin")
	aws("s3", "mv", "s3://"+bucket+"/dir/small.txt", "s3://"+bucket+"/moved ü+%.txt")
	if out := aws("s3", "cp", "s3://"+bucket+"/moved ü+%.txt", "-"); out != "hello hangar\n" {
		t.Fatalf("read back %q", out)
	}
	presigned := strings.TrimSpace(aws("s3", "presign", "s3://"+bucket+"/moved ü+%.txt"))
	if out := harness.Command(t, nil, "curl", "-sf", presigned); out != "hello hangar\n" {
		t.Fatalf("presigned GET returned %q", out)
	}
	aws("s3", "sync", home, "s3://"+bucket+"/sync", "--exclude", "*", "--include", "*.bin")
	if out := aws("s3api", "get-bucket-location", "--bucket", bucket); !strings.Contains(out, harness.Region) {
		t.Fatalf("location %s", out)
	}
	aws("s3", "rm", "s3://"+bucket, "--recursive")
	aws("s3", "rb", "s3://"+bucket)
	if out := aws("s3", "ls"); strings.Contains(out, bucket) || !strings.Contains(out, harness.Bucket) {
		t.Fatalf("buckets %q", out)
	}
}

func same(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Fatalf("%s and %s differ", a, b)
	}
}

func TestBoto3(t *testing.T) {
	s := sharedServer(t)
	python(t, "testdata/boto3_client.py", append(harness.ClientEnv(t.TempDir(), s.S3), "BUCKET="+harness.Bucket)...)
}

// TestK2VByBotocore: a client of another ecosystem, by the specification alone.
func TestK2VByBotocore(t *testing.T) {
	s := sharedServer(t)
	python(t, "testdata/k2v_client.py", append(harness.ClientEnv(t.TempDir(), s.S3), "K2V="+s.K2V, "K2V_BUCKET="+newBucket(t, s))...)
}

// python runs a script with boto3.
func python(t *testing.T, script string, env ...string) {
	t.Helper()
	python := ""
	for _, p := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(p, "-c", "import boto3").Run() == nil {
			python = p
			break
		}
	}
	if python == "" {
		t.Fatal("boto3 is not installed: run `make clients`")
	}
	cmd := exec.Command(python, script)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func TestRcloneSyncAndCheck(t *testing.T) {
	s := sharedServer(t)
	home := t.TempDir()
	env := harness.ClientEnv(home, s.S3)
	tree := filepath.Join(home, "tree")
	for i := range 2000 {
		size := (i * 37) % 9000
		if i%400 == 0 {
			size = 6 << 20
		}
		writeFile(t, filepath.Join(tree, fmt.Sprintf("d%02d", i%40), fmt.Sprintf("file %04d ä.dat", i)), content(uint64(i), size))
	}
	remote := "hangar:" + harness.Bucket + "/rclone"
	harness.Command(t, env, "rclone", "sync", tree, remote, "--transfers", "8")
	harness.Command(t, env, "rclone", "check", tree, remote)
	harness.Command(t, env, "rclone", "check", "--download", tree, remote)
	// A second sync finds nothing to do; a deletion is carried over.
	if err := os.RemoveAll(filepath.Join(tree, "d07")); err != nil {
		t.Fatal(err)
	}
	harness.Command(t, env, "rclone", "sync", tree, remote)
	harness.Command(t, env, "rclone", "check", tree, remote)
	if out := harness.Command(t, env, "rclone", "size", remote); !strings.Contains(out, "1.950k (1950)") && !strings.Contains(out, "1950") {
		t.Fatalf("size printed %q", out)
	}
	harness.Command(t, env, "rclone", "purge", remote)
}

func TestRestic(t *testing.T) {
	s := sharedServer(t)
	home := t.TempDir()
	env := append(harness.ClientEnv(home, s.S3), "RESTIC_REPOSITORY=s3:"+s.S3+"/"+harness.Bucket+"/restic")
	src := filepath.Join(home, "src")
	for i := range 60 {
		writeFile(t, filepath.Join(src, fmt.Sprint("f", i)), content(uint64(i), 200_000))
	}
	harness.Command(t, env, "restic", "init")
	harness.Command(t, env, "restic", "backup", src)
	writeFile(t, filepath.Join(src, "f1"), []byte("changed"))
	harness.Command(t, env, "restic", "backup", src)
	harness.Command(t, env, "restic", "check", "--read-data")
	target := filepath.Join(home, "restored")
	harness.Command(t, env, "restic", "restore", "latest", "--target", target)
	for i := range 60 {
		same(t, filepath.Join(src, fmt.Sprint("f", i)), filepath.Join(target, src, fmt.Sprint("f", i)))
	}
	harness.Command(t, env, "restic", "forget", "--keep-last", "1", "--prune")
	harness.Command(t, env, "restic", "check", "--read-data")
}

func TestS3cmd(t *testing.T) {
	s := sharedServer(t)
	home := t.TempDir()
	host := strings.TrimPrefix(s.S3, "http://")
	cfg := filepath.Join(home, "s3cfg")
	writeFile(t, cfg, []byte(fmt.Sprintf("[default]\naccess_key = %s\nsecret_key = %s\nhost_base = %s\nhost_bucket = %s\nuse_https = False\nbucket_location = %s\nmultipart_chunk_size_mb = 5\n", harness.AccessKey, harness.SecretKey, host, host, harness.Region)))
	s3cmd := func(args ...string) string {
		t.Helper()
		return harness.Command(t, harness.ClientEnv(home, s.S3), "s3cmd", append([]string{"-c", cfg}, args...)...)
	}
	file := filepath.Join(home, "file.bin")
	writeFile(t, file, content(3, 12<<20))
	s3cmd("mb", "s3://s3cmd-bucket")
	s3cmd("put", file, "s3://s3cmd-bucket/a/file.bin")
	if out := s3cmd("ls", "s3://s3cmd-bucket/a/"); !strings.Contains(out, "12582912") {
		t.Fatalf("ls printed %q", out)
	}
	s3cmd("get", "s3://s3cmd-bucket/a/file.bin", filepath.Join(home, "back.bin"))
	same(t, file, filepath.Join(home, "back.bin"))
	s3cmd("cp", "s3://s3cmd-bucket/a/file.bin", "s3://s3cmd-bucket/b")
	s3cmd("info", "s3://s3cmd-bucket/b")
	s3cmd("del", "--recursive", "--force", "s3://s3cmd-bucket/")
	s3cmd("rb", "s3://s3cmd-bucket")
}

func TestMinioGo(t *testing.T) {
	s := sharedServer(t)
	ctx := testContext(t, time.Minute)
	c, err := minio.New(strings.TrimPrefix(s.S3, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(harness.AccessKey, harness.SecretKey, ""), Region: harness.Region,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeBucket(ctx, "minio-go-bucket", minio.MakeBucketOptions{Region: harness.Region}); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 100_000, 17 << 20} {
		minioRoundTrip(ctx, t, c, size)
	}
	// A stream of unknown length is uploaded in parts.
	body := content(9, 18<<20)
	if _, err := c.PutObject(ctx, "minio-go-bucket", "stream", io.MultiReader(bytes.NewReader(body)), -1, minio.PutObjectOptions{PartSize: 6 << 20}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for o := range c.ListObjects(ctx, "minio-go-bucket", minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		n++
		if err := c.RemoveObject(ctx, "minio-go-bucket", o.Key, minio.RemoveObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if n != 5 {
		t.Fatalf("listed %d objects", n)
	}
	if err := c.RemoveBucket(ctx, "minio-go-bucket"); err != nil {
		t.Fatal(err)
	}
}

func minioRoundTrip(ctx context.Context, t *testing.T, c *minio.Client, size int) {
	t.Helper()
	body := content(uint64(size), size)
	key := fmt.Sprintf("a//b/../%d +%%.bin", size)
	_, err := c.PutObject(ctx, "minio-go-bucket", key, bytes.NewReader(body), int64(size), minio.PutObjectOptions{
		UserMetadata: map[string]string{"Color": "blau"}, ContentType: "application/x-test",
	})
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	o, err := c.GetObject(ctx, "minio-go-bucket", key, minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	back, err := io.ReadAll(o)
	if err != nil || !bytes.Equal(back, body) {
		t.Fatalf("%s: read %d bytes, %v", key, len(back), err)
	}
	info, err := c.StatObject(ctx, "minio-go-bucket", key, minio.StatObjectOptions{})
	if err != nil || info.Size != int64(size) || info.UserMetadata["Color"] != "blau" || info.ContentType != "application/x-test" {
		t.Fatalf("%s: %+v, %v", key, info, err)
	}
}
