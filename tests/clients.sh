#!/usr/bin/env bash
# Installs the S3 clients that the end-to-end tests use, where missing (Debian
# and its children; elsewhere it says what to install).
set -euo pipefail

missing=()
for pair in /usr/bin/aws=awscli rclone=rclone restic=restic s3cmd=s3cmd curl=curl; do
	command -v "${pair%%=*}" >/dev/null || missing+=("${pair##*=}")
done
if ! python3 -c 'import boto3' 2>/dev/null && ! /usr/bin/python3 -c 'import boto3' 2>/dev/null; then
	missing+=(python3-boto3)
fi
[ ${#missing[@]} -eq 0 ] && exit 0

echo "Installing test clients: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
	echo "Please install: ${missing[*]}" >&2
	exit 1
fi
run=()
[ "$(id -u)" -eq 0 ] || run=(sudo)
"${run[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${run[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
