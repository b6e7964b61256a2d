//go:build tools

// Package tools pins the proxy that stands before a SeiNode's sidecar.
package tools

import _ "github.com/brancz/kube-rbac-proxy/cmd/kube-rbac-proxy"
