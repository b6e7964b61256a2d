"""The view: always the newest, never an older one, and an error when it cannot be that."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from seimigrate.adapters.api import ApiCluster
from seimigrate.adapters.watch import InformerCache
from seimigrate.domain.kube.kinds import Kind, Object
from seimigrate.engine.errors import ApiError, Forbidden, NotFound
from tests.adapters.helpers import RBAC, config_map, grant
from tests.controlplane.process import ControlPlane

Watching = Callable[..., InformerCache]


@pytest.fixture
def watching(controlplane: ControlPlane) -> Iterator[Watching]:
    """Give a function that starts a view; all are stopped after the test."""
    views: list[InformerCache] = []

    def start(*arguments: object, user: str = "admin", **keywords: object) -> InformerCache:
        cache = InformerCache(controlplane.connection(user), *arguments, **keywords)  # type: ignore[arg-type]
        views.append(cache)
        return cache.start()

    yield start
    for cache in views:
        cache.stop()


def wait_for(cache: InformerCache, condition: Callable[[], object], what: str) -> None:
    """Let the view wait until a condition holds."""
    for _ in range(200):
        if condition():
            return
        cache.wait_for_change(0.5)
    raise AssertionError(f"never seen: {what}")


def test_what_is_there_is_known_at_once_and_what_changes_soon(
    cluster: ApiCluster, namespace: str, watching: Watching
) -> None:
    first = cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a"))
    cache = watching([Kind.CONFIG_MAP, Kind.NODE], [namespace])
    assert cache.get(Kind.CONFIG_MAP, namespace, "a") == first
    second = cluster.patch(Kind.CONFIG_MAP, namespace, "a", [{"op": "add", "path": "/data", "value": {"x": "1"}}])
    wait_for(cache, lambda: cache.get(Kind.CONFIG_MAP, namespace, "a") == second, "the change")
    third = cluster.create(Kind.CONFIG_MAP, config_map(namespace, "b"))
    wait_for(cache, lambda: third in cache.list(Kind.CONFIG_MAP, namespace), "the new one")
    cluster.delete(Kind.CONFIG_MAP, namespace, "a", uid=first["metadata"]["uid"])
    wait_for(cache, lambda: cache.get(Kind.CONFIG_MAP, namespace, "a") is None, "the deletion")


def test_all_namespaces_are_seen_when_none_is_named(
    cluster: ApiCluster, make_namespace: Callable[[], str], watching: Watching
) -> None:
    one, other = make_namespace(), make_namespace()
    cache = watching([Kind.CONFIG_MAP])
    cluster.create(Kind.CONFIG_MAP, config_map(one, "a"))
    cluster.create(Kind.CONFIG_MAP, config_map(other, "a"))
    wait_for(cache, lambda: all(cache.get(Kind.CONFIG_MAP, name, "a") for name in (one, other)), "both")
    assert [each["metadata"]["namespace"] for each in cache.list(Kind.CONFIG_MAP, one)].count(one) >= 1
    assert {one, other} <= {each["metadata"]["namespace"] for each in cache.list(Kind.CONFIG_MAP)}


def test_our_own_write_is_seen_before_the_watch_and_an_older_answer_never(
    cluster: ApiCluster, namespace: str, watching: Watching
) -> None:
    cache = watching([Kind.CONFIG_MAP], [namespace])
    first = cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a"))
    cache.observe(Kind.CONFIG_MAP, first)
    assert cache.get(Kind.CONFIG_MAP, namespace, "a") == first
    second = cluster.patch(Kind.CONFIG_MAP, namespace, "a", [{"op": "add", "path": "/data", "value": {"x": "1"}}])
    cache.observe(Kind.CONFIG_MAP, second)
    cache.observe(Kind.CONFIG_MAP, first)
    assert cache.get(Kind.CONFIG_MAP, namespace, "a") == second
    cluster.delete(Kind.CONFIG_MAP, namespace, "a", uid=first["metadata"]["uid"])
    wait_for(cache, lambda: cache.get(Kind.CONFIG_MAP, namespace, "a") is None, "the deletion")
    cache.observe(Kind.CONFIG_MAP, second)
    assert cache.get(Kind.CONFIG_MAP, namespace, "a") is None
    again = cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a"))
    cache.observe(Kind.CONFIG_MAP, again)
    assert cache.get(Kind.CONFIG_MAP, namespace, "a") == again


def test_a_wait_ends_at_a_change_since_the_last_one(cluster: ApiCluster, namespace: str, watching: Watching) -> None:
    cache = watching([Kind.CONFIG_MAP], [namespace])
    cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a"))
    wait_for(cache, lambda: cache.get(Kind.CONFIG_MAP, namespace, "a"), "the new one")
    cluster.create(Kind.CONFIG_MAP, config_map(namespace, "b"))
    cache.wait_for_change(
        60
    )  # the change is there before the wait, or comes during it: neither may take the whole minute
    wait_for(cache, lambda: cache.get(Kind.CONFIG_MAP, namespace, "b"), "the other")


def test_an_api_server_that_comes_back_is_followed_again_with_nothing_missed(
    cluster: ApiCluster, controlplane: ControlPlane, namespace: str, watching: Watching
) -> None:
    """The server's memory of changes is gone with it: it answers 410, and everything is listed again."""
    gone = cluster.create(Kind.CONFIG_MAP, config_map(namespace, "gone"))
    cache = watching([Kind.CONFIG_MAP], [namespace])
    controlplane.stop_api_server()
    controlplane.start_api_server()
    cluster.delete(Kind.CONFIG_MAP, namespace, "gone", uid=gone["metadata"]["uid"])
    kept = cluster.create(Kind.CONFIG_MAP, config_map(namespace, "kept"))
    wait_for(cache, lambda: cache.get(Kind.CONFIG_MAP, namespace, "kept") == kept, "the new one")
    wait_for(cache, lambda: cache.get(Kind.CONFIG_MAP, namespace, "gone") is None, "the deletion")


def test_a_version_that_is_too_old_to_watch_from_is_listed_again(
    cluster: ApiCluster, namespace: str, controlplane: ControlPlane
) -> None:
    controlplane.stop_api_server()
    controlplane.start_api_server()  # which has forgotten what happened before
    cache = InformerCache(controlplane.admin, [Kind.CONFIG_MAP], [namespace])
    cache._watches[0].version = "1"  # as after a long time without a connection
    cluster.create(Kind.CONFIG_MAP, config_map(namespace, "a"))
    try:
        cache.start()
        assert cache.get(Kind.CONFIG_MAP, namespace, "a")
    finally:
        cache.stop()


def test_a_list_takes_away_what_it_lacks_but_not_what_was_seen_later(controlplane: ControlPlane) -> None:
    cache = InformerCache(controlplane.admin, [Kind.CONFIG_MAP], ["x"])

    def version(name: str, number: int) -> Object:
        body = config_map("x", name)
        body["metadata"]["resourceVersion"] = str(number)
        return body

    for name, number in (("old", 5), ("late", 30), ("newer", 20)):
        cache.observe(Kind.CONFIG_MAP, version(name, number))
    cache.on_list(cache._watches[0], [version("newer", 8)], "10")
    assert [each["metadata"]["resourceVersion"] for each in cache.list(Kind.CONFIG_MAP, "x")] == ["30", "20"]
    cache.observe(Kind.CONFIG_MAP, version("old", 9))
    assert cache.get(Kind.CONFIG_MAP, "x", "old") is None


def test_start_tells_the_missing_right(namespace: str, watching: Watching) -> None:
    with pytest.raises(Forbidden) as caught:
        watching([Kind.STATEFUL_SET], [namespace], user="nobody")
    assert f'verb "list" on resource "statefulsets.apps" in namespace "{namespace}"' in caught.value.hint


def test_the_right_to_list_without_the_right_to_watch_is_told_while_it_runs(
    controlplane: ControlPlane, namespace: str, watching: Watching
) -> None:
    grant(controlplane.admin, namespace, "operator", ("", "configmaps", ["list"]))
    cache = watching([Kind.CONFIG_MAP], [namespace], user="operator")
    with pytest.raises(Forbidden) as caught:
        wait_for(cache, lambda: False, "an end")
    assert f'verb "watch" on resource "configmaps" in namespace "{namespace}"' in caught.value.hint


def test_a_right_that_is_taken_away_ends_the_view(
    controlplane: ControlPlane, namespace: str, watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seimigrate.adapters.watch.WATCH_SECONDS", 1)
    grant(controlplane.admin, namespace, "operator", ("", "configmaps", ["list", "watch"]))
    cache = watching([Kind.CONFIG_MAP], [namespace], user="operator")
    controlplane.admin.request("DELETE", f"{RBAC}/namespaces/{namespace}/rolebindings/test-operator")
    with pytest.raises(Forbidden):
        wait_for(cache, lambda: False, "an end")
    with pytest.raises(Forbidden):
        cache.get(Kind.CONFIG_MAP, namespace, "a")


def test_an_absent_crd_is_told_unless_it_is_optional(
    namespace: str, watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = Kind.SEI_NODE_TASK.resource._replace(plural="seigardens")
    monkeypatch.setattr(Kind, "resource", property(lambda kind: resource if kind is Kind.SEI_NODE_TASK else kind.value))
    with pytest.raises(NotFound, match="seigardens") as caught:
        watching([Kind.SEI_NODE_TASK], [namespace])
    assert "kubectl get crd seigardens.sei.io" in caught.value.hint
    cache = watching([Kind.POD], [namespace], optional=[Kind.SEI_NODE_TASK])
    assert cache.list(Kind.SEI_NODE_TASK, namespace) == []
    assert cache.get(Kind.SEI_NODE_TASK, namespace, "a") is None


def test_what_nobody_watches_is_not_taken_for_absent(namespace: str, watching: Watching) -> None:
    cache = watching([Kind.POD], [namespace])
    with pytest.raises(LookupError):
        cache.get(Kind.SERVICE, namespace, "a")
    with pytest.raises(LookupError):
        cache.list(Kind.POD, "elsewhere")


def test_a_stopped_view_has_no_threads_left(namespace: str, watching: Watching) -> None:
    cache = watching([Kind.POD, Kind.SERVICE], [namespace])
    cache.stop()
    assert not any(watch.thread.is_alive() for watch in cache._watches)


def test_without_an_api_server_start_is_one_error(controlplane: ControlPlane, watching: Watching) -> None:
    controlplane.stop_api_server()
    try:
        with pytest.raises(ApiError):
            watching([Kind.POD])
    finally:
        controlplane.start_api_server()
