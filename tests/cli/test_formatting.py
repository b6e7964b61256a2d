"""Field values and field names as the tables show them."""

from __future__ import annotations

from dataclasses import replace

from seimigrate.domain.kube.changes import Change
from seimigrate.render import formatting


def test_only_what_differs_of_a_long_value_is_shown() -> None:
    long = "x" * 100 + "/dev/tcp/localhost/{}" + "y" * 100
    change = Change("probes", "StatefulSet", "spec.a", long.format(7777), long.format(9100))
    shown = formatting.describe_change(change)
    assert "localhost/7777" in shown
    assert "localhost/9100" in shown
    assert max(map(len, shown.splitlines())) < 70
    path = "spec.template.spec.initContainers[name=kube-rbac-proxy].args"
    assert formatting.field_label(replace(change, path=path)) == "kube-rbac-proxy: args"
    assert formatting.describe_change(replace(change, before=8443, after=9100)) == "8443 → 9100"
    added = {"name": "a", "port": 1, "protocol": "TCP", "targetPort": 1}
    assert formatting.describe_change(replace(change, before=None, after=added)) == "+ name: a, port: 1"
    elsewhere = {**added, "targetPort": 2}
    assert (
        formatting.describe_change(replace(change, before=None, after=elsewhere)) == "+ name: a, port: 1, targetPort: 2"
    )
    assert formatting.describe_change(replace(change, before="--x", after=None)) == "- --x"
