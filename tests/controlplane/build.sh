#!/usr/bin/env bash
# Build the real etcd, kube-apiserver, kube-controller-manager and kubectl that the tests run, from their Go modules alone,
# into a folder outside the checkout, and print that folder. What is already built is not built again.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kubernetes=1.36.3
etcd=3.6.8
out=${SEIMIGRATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/seimigrate}/controlplane-$kubernetes-$etcd
mkdir -p "$out"
export GOFLAGS="-mod=readonly -buildvcs=false -p=2" CGO_ENABLED=0

# A half-written program must never look finished: it is built beside its place and then moved there.
build() { # build MODULE PROGRAM PACKAGE [FLAGS...]
  local module=$1 program=$2 package=$3
  shift 3
  [ -x "$out/$program" ] && return
  echo "building $program from its Go module (once, a few minutes)" >&2
  (cd "$here/$module" && go build "$@" -o "$out/.$program.$$" "$package" >&2)
  mv "$out/.$program.$$" "$out/$program"
}

versions="-X k8s.io/component-base/version.gitVersion=v$kubernetes -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
build etcd etcd go.etcd.io/etcd/server/v3
build kubernetes kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver -ldflags "-s -w $versions"
build kubernetes kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager -ldflags "-s -w $versions"
build kubernetes kubectl k8s.io/kubernetes/cmd/kubectl -ldflags "-s -w $versions"
echo "$out"
