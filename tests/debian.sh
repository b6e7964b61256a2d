#!/usr/bin/env bash
# tests/debian.sh FOLDER WORD...: let apt-get fetch Debian packages, as the words say ("download zsh"), and unpack them
# into FOLDER. apt's state is a private one. Installs nothing on the machine; fails where there is no apt.
set -euo pipefail

folder=$(realpath -m "$1")
shift
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "no apt-get here" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder" "$work/lists/partial" "$work/cache/archives/partial"
apt=(apt-get -qq -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o Debug::NoLocking=true
  -o APT::Sandbox::User=root)
"${apt[@]}" update >&2
(cd "$work/cache/archives" && "${apt[@]}" "$@" >&2)
for package in "$work"/cache/archives/*.deb; do dpkg-deb -x "$package" "$folder"; done
