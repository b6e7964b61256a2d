#!/usr/bin/env bash
# Build what the test cluster runs beyond the control plane, from Go modules (pinned with checksums in modules/) and
# Debian packages, into a folder outside the checkout, and print that folder. What is already built is not built again.
# Cold on two cores: about 15 minutes. Installs nothing on the machine.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kubernetes=1.36.3
containerd=2.4.2
cache=${SEIMIGRATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/seimigrate}
out=$cache/cluster-$kubernetes-$containerd
mkdir -p "$out/bin"
export GOFLAGS="-mod=readonly -buildvcs=false -p=2" CGO_ENABLED=0

# A half-written program must never look finished: it is built beside its place and then moved there.
build() { # build MODULE PROGRAM PACKAGE [FLAGS...]
  local module=$1 program=$2 package=$3 sources
  shift 3
  sources=$(cat "$here/modules/$module"/{go.mod,go.sum,*.go} | sha256sum)
  [ -x "$out/bin/$program" ] && [ "$(cat "$out/bin/.$program.sources" 2>/dev/null)" = "$sources" ] && return
  echo "building $program from its Go module (once, a few minutes)" >&2
  (cd "$here/modules/$module" && nice -n 10 go build "$@" -o "$out/bin/.$program.$$" "$package" >&2)
  mv "$out/bin/.$program.$$" "$out/bin/$program"
  echo "$sources" > "$out/bin/.$program.sources"
}

version=k8s.io/component-base/version
flags="-s -w -X $version.gitVersion=v$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=36"
for program in kubelet kube-scheduler kube-proxy kubectl; do
  build kubernetes "$program" "k8s.io/kubernetes/cmd/$program" -ldflags "$flags"
done
build kube-rbac-proxy kube-rbac-proxy github.com/brancz/kube-rbac-proxy/cmd/kube-rbac-proxy -ldflags "-s -w"
flags="-s -w -X github.com/containerd/containerd/v2/version.Version=$containerd"
for program in containerd containerd-shim-runc-v2 ctr; do
  build containerd "$program" "github.com/containerd/containerd/v2/cmd/$program" \
    -tags "no_btrfs no_devmapper no_zfs no_aufs" -ldflags "$flags"
done
build kube-router kube-router github.com/cloudnativelabs/kube-router/v2/cmd/kube-router -ldflags "-s -w"
build coredns coredns . -ldflags "-s -w"

# Our own: pause, and stand-ins for what is not ours to run. Built each time; Go knows what has not changed.
programs() {
  cd "$here/programs"
  for program in pause seid sei-cosmos-exporter; do go build -trimpath -ldflags "-s -w" -o "$out/bin/" "./$program"; done
  for generation in shared split; do
    go build -trimpath -ldflags "-s -w -X main.generation=$generation" -o "$out/bin/seictl-$generation" ./seictl
  done
}
(programs)

# What Debian has: the packages that this machine lacks, unpacked and not installed.
if [ ! -e "$out/root" ]; then
  echo "unpacking runc, CNI plugins and iptables from Debian packages (once)" >&2
  "$here/../debian.sh" "$out/.root" install --download-only --yes --no-install-recommends \
    runc containernetworking-plugins iptables nftables conntrack ipset iproute2
  mkdir -p "$out/.root/usr/sbin"
  for name in {iptables,ip6tables}{,-save,-restore}; do ln -sf xtables-nft-multi "$out/.root/usr/sbin/$name"; done
  mv "$out/.root" "$out/root"
fi
echo "$out"
