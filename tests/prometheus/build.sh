#!/usr/bin/env bash
# Unpack the real Prometheus of a Debian package into a folder outside the checkout, and print its path; what is there
# already is not fetched again. Installs nothing on the machine. Fails where there is no apt, or no such package.
set -euo pipefail

out=${SEIMIGRATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/seimigrate}/prometheus
if [ ! -x "$out/prometheus" ]; then
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "no apt-get here" >&2; exit 1; }
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$out" "$work/lists/partial" "$work/cache/archives/partial"
  # apt's state is a private one, as for the test cluster.
  apt=(apt-get -qq -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o Debug::NoLocking=true
    -o APT::Sandbox::User=root)
  echo "unpacking Prometheus from its Debian package (once)" >&2
  "${apt[@]}" update >&2
  (cd "$work" && "${apt[@]}" download prometheus >&2)
  dpkg-deb -x "$work"/prometheus_*.deb "$work/root"
  # A half-written program must never look finished: it is moved to its place at the end.
  cp "$work/root/usr/bin/prometheus" "$out/.prometheus.$$"
  mv "$out/.prometheus.$$" "$out/prometheus"
fi
echo "$out/prometheus"
