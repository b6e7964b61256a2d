"""The namespace of the kubeconfig's context."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seimigrate.app.kube_context import context_namespace


class TestNamespace:
    def write(self, file: Path, current: str, **namespaces: str) -> Path:
        contexts = [{"name": name, "context": {"namespace": ns}} for name, ns in namespaces.items()]
        file.write_text(json.dumps({"current-context": current, "contexts": contexts}))
        return file

    def test_it_is_the_contexts(self, tmp_path: Path) -> None:
        file = str(self.write(tmp_path / "a", "one", one="first", two="second", bare=""))
        assert context_namespace(None, file) == "first"
        assert context_namespace("two", file) == "second"
        assert context_namespace("bare", file) == "default"
        assert context_namespace("absent", file) == "default"

    def test_of_several_files_the_first_that_speaks_counts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = self.write(tmp_path / "a", "", shared="of-a")
        second = self.write(tmp_path / "b", "shared", shared="of-b")
        monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'absent'}:{first}:{second}")
        assert context_namespace(None, None) == "of-a"

    def test_what_cannot_be_read_is_default(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("{")
        assert context_namespace(None, str(tmp_path / "a")) == "default"
        assert context_namespace(None, str(tmp_path / "absent")) == "default"
