#!/usr/bin/env bash
# Unpack the real Prometheus of a Debian package into a folder outside the checkout, and print its path; what is there
# already is not fetched again. Installs nothing on the machine. Fails where there is no apt, or no such package.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${SEIMIGRATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/seimigrate}/prometheus
if [ ! -x "$out/prometheus" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  echo "unpacking Prometheus from its Debian package (once)" >&2
  "$here/../debian.sh" "$work/root" download prometheus
  mkdir -p "$out"
  # A half-written program must never look finished: it is moved to its place at the end.
  cp "$work/root/usr/bin/prometheus" "$out/.prometheus.$$"
  mv "$out/.prometheus.$$" "$out/prometheus"
fi
echo "$out/prometheus"
