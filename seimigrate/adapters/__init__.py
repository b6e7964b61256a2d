"""The engine's ports on the real thing: the Kubernetes API, its watches, port-forwards and a Lease.

Nothing outside this package knows the kubernetes client, urllib3, websocket-client or tenacity.
"""
