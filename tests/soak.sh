#!/usr/bin/env bash
# Run a command N times with BUSY loops beside it, and say how each went; ends at the first failure.
# usage: soak.sh N BUSY COMMAND...
set -euo pipefail

times=$1 busy=$2
shift 2
loops=()
end() { for each in "${loops[@]}"; do kill "$each" 2>/dev/null || true; done; }
trap end EXIT
for ((i = 0; i < busy; i++)); do
  # A loop ends with this script, also when that is killed.
  (while kill -0 $$ 2>/dev/null; do for ((j = 0; j < 100000; j++)); do :; done; done) &
  loops+=($!)
done
for ((i = 1; i <= times; i++)); do
  began=$SECONDS
  "$@" || { echo "run $i of $times failed after $((SECONDS - began)) s, with $busy busy loops" >&2; exit 1; }
  echo "run $i of $times passed in $((SECONDS - began)) s, with $busy busy loops"
done
