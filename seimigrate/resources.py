"""Find the files that seimigrate brings along, wherever it was installed.

A wheel carries them inside the package. A checkout, and so an editable install, has them beside it.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def plans_dir() -> Path:
    """Give the folder of the plan files; raises ``FileNotFoundError`` if this installation has none."""
    return _find("plans")


def runbooks_dir() -> Path:
    """Give the folder of the runbooks; raises ``FileNotFoundError`` if this installation has none."""
    return _find("runbooks")


def _find(name: str) -> Path:
    for folder in (_PACKAGE / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"this installation of seimigrate has no {name}: install it again from its wheel")
