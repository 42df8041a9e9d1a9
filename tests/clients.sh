#!/usr/bin/env bash
# Installs the S3 clients that the end-to-end tests use, where missing (Debian
# and its children; elsewhere it says what to install), and fetches Prometheus
# into .tools, where it starts no service of its own.
set -euo pipefail
tools=$(cd "$(dirname "$0")/.." && pwd)/.tools

missing=()
for pair in /usr/bin/aws=awscli rclone=rclone restic=restic s3cmd=s3cmd curl=curl; do
	command -v "${pair%%=*}" >/dev/null || missing+=("${pair##*=}")
done
if ! python3 -c 'import boto3' 2>/dev/null && ! /usr/bin/python3 -c 'import boto3' 2>/dev/null; then
	missing+=(python3-boto3)
fi
prometheus=
[ -x "$tools/bin/promtool" ] || command -v promtool >/dev/null || prometheus=yes
[ ${#missing[@]} -eq 0 ] && [ -z "$prometheus" ] && exit 0

if ! command -v apt-get >/dev/null; then
	[ ${#missing[@]} -eq 0 ] && exit 0 # tests of Prometheus are skipped
	echo "Please install: ${missing[*]}" >&2
	exit 1
fi
run=()
[ "$(id -u)" -eq 0 ] || run=(sudo)
"${run[@]}" apt-get update -qq
if [ ${#missing[@]} -gt 0 ]; then
	echo "Installing test clients: ${missing[*]}"
	DEBIAN_FRONTEND=noninteractive "${run[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
if [ -n "$prometheus" ]; then
	echo "Fetching Prometheus into .tools"
	mkdir -p "$tools/bin"
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	(cd "$work" && apt-get download -qq prometheus 2>/dev/null && dpkg-deb -x prometheus_*.deb .)
	mv "$work"/usr/bin/prometheus "$work"/usr/bin/promtool "$tools/bin/"
fi
