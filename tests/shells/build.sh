#!/usr/bin/env bash
# Unpack the real zsh and fish of their Debian packages into a folder outside the checkout, and print it; what is there
# already is not fetched again. Installs nothing on the machine. Fails where there is no apt, or no such packages.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${SEIMIGRATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/seimigrate}/shells
if [ ! -d "$out" ]; then
  mkdir -p "$(dirname "$out")"
  work=$(mktemp -d "$out.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "unpacking zsh and fish from their Debian packages (once)" >&2
  "$here/../debian.sh" "$work/shells" download zsh zsh-common fish fish-common libpcre2-32-0
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
