//go:build tools

// Package tools pins the program that enforces NetworkPolicy in the test cluster.
package tools

import _ "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"
