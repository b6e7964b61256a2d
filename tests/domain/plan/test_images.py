"""Image references, and the list of images that support split listeners."""

from __future__ import annotations

import pytest

from seimigrate.domain.plan.images import Image, accepted, parse_image
from seimigrate.domain.plan.plan import SupportedImage
from tests.planfile.files import DIGEST


@pytest.mark.parametrize(
    ("reference", "image"),
    [
        ("seictl", Image("seictl", None, None)),
        ("seictl:v1", Image("seictl", "v1", None)),
        ("host:5000/sei/ctl", Image("host:5000/sei/ctl", None, None)),
        ("host:5000/x:tag", Image("host:5000/x", "tag", None)),
        ("[::1]:5000/x:tag", Image("[::1]:5000/x", "tag", None)),
        ("Registry.Example/x", Image("Registry.Example/x", None, None)),
        (f"x@{DIGEST}", Image("x", None, DIGEST)),
        (f"host:5000/a/b__c:v1@{DIGEST}", Image("host:5000/a/b__c", "v1", DIGEST)),
    ],
)
def test_reference_is_parsed_into_repository_tag_and_digest(reference: str, image: Image) -> None:
    assert parse_image(reference) == image


@pytest.mark.parametrize(
    "reference", ["", "Upper", "a b", "x:", "x@", "x@sha256:00", "x:v1\n", "/x", "x//y", "x:-v", "a" * 5000, "x:v1:v2"]
)
def test_invalid_reference_raises_and_is_never_accepted(reference: str) -> None:
    with pytest.raises(ValueError, match="not an image reference"):
        parse_image(reference)
    assert not accepted(reference, [SupportedImage(tag="v1"), SupportedImage(minimum_version="v0.0.0")])


@pytest.mark.parametrize(
    ("image", "entry", "expected"),
    [
        (f"x@{DIGEST}", SupportedImage(digest=DIGEST), True),
        (f"x:v1@{DIGEST}", SupportedImage(digest=DIGEST), True),
        (f"x@{DIGEST[:-1]}b", SupportedImage(digest=DIGEST), False),
        ("x:v1", SupportedImage(digest=DIGEST), False),
        ("x:v1", SupportedImage(tag="v1"), True),
        (f"x:v1@{DIGEST}", SupportedImage(tag="v1"), True),
        ("host:5000/x", SupportedImage(tag="5000"), False),
        ("x", SupportedImage(tag="latest"), True),
        (f"x@{DIGEST}", SupportedImage(tag="latest"), False),
        ("x:v1.10.0", SupportedImage(minimum_version="v1.9.0"), True),
        ("x:1.9.0", SupportedImage(minimum_version="v1.9.0"), True),
        ("x:v1.8.99", SupportedImage(minimum_version="1.9.0"), False),
        ("x:v1.9.0-rc1", SupportedImage(minimum_version="v1.9.0"), False),
        ("x:v1.9.1-rc1", SupportedImage(minimum_version="v1.9.0"), True),
        ("x:v2", SupportedImage(minimum_version="v1.9.0"), False),
        ("x:latest", SupportedImage(minimum_version="v1.9.0"), False),
        (f"x@{DIGEST}", SupportedImage(minimum_version="v0.0.0"), False),
        ("x:v1", SupportedImage(), False),
    ],
)
def test_image_is_accepted_by_digest_tag_or_minimum_version(image: str, entry: SupportedImage, expected: bool) -> None:
    assert accepted(image, [SupportedImage(tag="other"), entry]) is expected


def test_empty_list_accepts_no_image() -> None:
    assert not accepted("x:v1", [])
