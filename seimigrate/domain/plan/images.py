"""Container image references, and which sidecar images split their listeners.

A sidecar has no version endpoint, header or metric that shows its capabilities (upstream). The plan therefore lists the
images that split, and every other image shares its port.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from seimigrate.domain.plan.plan import SupportedImage

# The grammar of references is that of the distribution project, which container runtimes follow.
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<repository>(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}))?"
)
_LONGEST = 1024
"""Characters; far more than the limits of repository (255), tag (128) and digest (135) together."""

_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(-[0-9A-Za-z.-]+)?")

Version = tuple[int, int, int, bool]
"""Major, minor, patch, and whether it is a release: ``v1.2.3-rc1`` comes before ``v1.2.3``."""


class Image(NamedTuple):
    """The parts of an image reference; a missing tag or digest is ``None``."""

    repository: str
    tag: str | None
    digest: str | None


def parse_image(reference: str) -> Image:
    """Parse an image reference; raises ``ValueError`` if it is invalid.

    A colon before the last slash belongs to the registry's port: ``host:5000/sidecar`` has no tag.
    """
    match = _REFERENCE.fullmatch(reference) if len(reference) <= _LONGEST else None
    if match is None:
        raise ValueError("not an image reference")
    return Image(match["repository"], match["tag"], match["digest"])


def parse_version(tag: str) -> Version | None:
    """Parse a tag such as ``v1.2.3`` or ``1.2.3-rc1`` as a version; return ``None`` for other tags."""
    match = _VERSION.fullmatch(tag)
    if match is None:
        return None
    major, minor, patch = (int(part) for part in match.group(1, 2, 3))
    return major, minor, patch, match[4] is None


def accepted(image: str, entries: Sequence[SupportedImage]) -> bool:
    """Return whether one of the plan's entries lists this image as one that splits its listeners.

    The tag is also compared if the reference has a digest. A tag that is not a version is below every
    ``minimumVersion``. An invalid image reference is never accepted.
    """
    try:
        parsed = parse_image(image)
    except ValueError:
        return False
    return any(_accepts(entry, parsed) for entry in entries)


def _accepts(entry: SupportedImage, image: Image) -> bool:
    # Kubernetes uses :latest if a reference has neither tag nor digest.
    tag = image.tag or (None if image.digest else "latest")
    if entry.digest is not None and entry.digest == image.digest:
        return True
    if tag is None:
        return False
    if entry.tag is not None and entry.tag == tag:
        return True
    version = parse_version(tag)
    minimum = parse_version(entry.minimum_version) if entry.minimum_version is not None else None
    return version is not None and minimum is not None and version >= minimum
