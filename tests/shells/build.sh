#!/usr/bin/env bash
# Unpack the real zsh and fish of their Debian packages into a folder outside the checkout, and print it; what is there
# already is not fetched again. Installs nothing on the machine. Fails where there is no apt, or no such packages.
set -euo pipefail

out=${SEIMIGRATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/seimigrate}/shells
if [ ! -d "$out" ]; then
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "no apt-get here" >&2; exit 1; }
  mkdir -p "$(dirname "$out")"
  work=$(mktemp -d "$out.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/shells"
  # apt's state is a private one, as for the test cluster.
  apt=(apt-get -qq -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o Debug::NoLocking=true
    -o APT::Sandbox::User=root)
  echo "unpacking zsh and fish from their Debian packages (once)" >&2
  "${apt[@]}" update >&2
  (cd "$work" && "${apt[@]}" download zsh zsh-common fish fish-common libpcre2-32-0 >&2)
  for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/shells"; done
  libraries=$(cd "$work/shells" && echo usr/lib/*/libpcre2-32.so.0)
  # fish finds its own files, not its library; zsh is told by its startup file where its modules and functions are.
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$out/${libraries%/*}" "$out/usr/bin/fish" >"$work/shells/fish"
  ln -s bin/zsh "$work/shells/zsh"
  chmod 755 "$work/shells" "$work/shells/fish"
  echo "module_path=($out/usr/lib/*/zsh/*(/)) fpath=($out/usr/share/zsh/functions/**/*(/))" >"$work/shells/zshrc"
  # What is half unpacked must never look finished: it is moved to its place at the end.
  mv -T "$work/shells" "$out"
fi
echo "$out"
