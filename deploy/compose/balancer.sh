#!/usr/bin/env bash
# Gathers HAProxy and the libraries it needs in the folder $1, from this
# machine or, where it is not installed, from Debian's package. With
# HANGAR_BALANCER_IMAGE the public image of that name is used instead.
set -euo pipefail
out=$1
mkdir -p "$out"
if [ -n "${HANGAR_BALANCER_IMAGE:-}" ] || [ -x "$out/usr/sbin/haproxy" ]; then exit 0; fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if haproxy=$(command -v haproxy); then
	mkdir -p "$work/usr/sbin" && cp "$haproxy" "$work/usr/sbin/haproxy"
elif command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
	echo "Fetching Debian's HAProxy"
	(cd "$work" && apt-get download -q haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 >/dev/null 2>&1)
	for deb in "$work"/*.deb; do dpkg-deb -x "$deb" "$work"; done
else
	echo "HAProxy is not installed: install it, or set HANGAR_BALANCER_IMAGE=haproxy:lts to use the public image" >&2
	exit 1
fi

libs=$(LD_LIBRARY_PATH=$(find "$work" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:) ldd "$work/usr/sbin/haproxy")
if grep -q 'not found' <<<"$libs"; then
	echo "HAProxy needs libraries that are not here:" >&2
	grep 'not found' <<<"$libs" >&2
	exit 1
fi
mkdir -p "$out/usr/sbin"
# The loader has one path of its own; libraries go where it looks first.
grep -oE '(=> )?/[^ ]+' <<<"$libs" | sed 's/^=> //' | while read -r lib; do
	case $lib in
	*/ld-linux*) to=$lib ;;
	*) to=/usr/lib/$(basename "$lib") ;;
	esac
	mkdir -p "$out$(dirname "$to")"
	cp -L "$lib" "$out$to"
done
cp "$work/usr/sbin/haproxy" "$out/usr/sbin/haproxy"
