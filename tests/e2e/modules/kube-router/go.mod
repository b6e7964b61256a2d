module seimigrate.test/kube-router

go 1.26.0

require github.com/cloudnativelabs/kube-router/v2 v2.6.2

// The releases are tagged under this name; their go.mod keeps the other one.
replace github.com/cloudnativelabs/kube-router/v2 => github.com/k3s-io/kube-router/v2 v2.6.2
