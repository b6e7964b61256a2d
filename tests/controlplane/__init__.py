"""The real etcd, kube-apiserver and kube-controller-manager, for tests that only a real server can settle."""
