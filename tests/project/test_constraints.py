"""The two version sets: each within the bounds that the package states, and both for the same packages."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEWEST = "constraints.txt"
IMAGE = "constraints-cuda-image.txt"
IMAGE_VERSIONS = {
    "torch": "2.11.0",
    "triton": "3.6.0",
    "transformers": "5.17.0",
    "accelerate": "1.15.0",
    "numpy": "2.5.2",
}
"""What the image has; the rest of its set goes with these."""
LEFT_OUT = {"flash-attn"}
"""Direct dependencies that neither set pins: built on a GPU machine, against the torch that is there."""


def direct() -> dict[str, SpecifierSet]:
    """The bounds of what the package and its extras name, by canonical name; its own extras left out."""
    extras = PROJECT["optional-dependencies"].values()
    wanted = [Requirement(line) for group in (PROJECT["dependencies"], *extras) for line in group]
    return {canonicalize_name(one.name): one.specifier for one in wanted if one.name != PROJECT["name"]}


def pins(name: str) -> dict[str, str]:
    """Exact versions by canonical name.

    Raises:
        AssertionError: a line that is neither a comment nor one exact version without conditions.
    """
    found: dict[str, str] = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        (exact,) = requirement.specifier
        assert (exact.operator, requirement.marker) == ("==", None), line
        package = canonicalize_name(requirement.name)
        assert package not in found, line
        found[package] = exact.version
    return found


@pytest.mark.parametrize("name", [NEWEST, IMAGE])
def test_a_set_pins_every_direct_dependency_within_its_bounds(name: str) -> None:
    pinned, wanted = pins(name), direct()
    assert wanted.keys() - pinned.keys() == LEFT_OUT
    outside = {one: pinned[one] for one in wanted.keys() - LEFT_OUT if not wanted[one].contains(pinned[one])}
    assert outside == {}, f"{name} against the bounds of pyproject.toml"


def test_the_second_set_has_the_images_versions() -> None:
    pinned = pins(IMAGE)
    assert {name: pinned[name] for name in IMAGE_VERSIONS} == IMAGE_VERSIONS


@pytest.mark.parametrize("name", ["torch", "transformers", "triton"])
def test_the_lower_bound_is_the_images_version(name: str) -> None:
    """A bound above it would refuse the image; one below it would promise what no set tests."""
    (bound,) = direct()[name]
    assert bound.operator == ">="
    image = IMAGE_VERSIONS[name].split(".")
    assert bound.version.split(".") == image[: len(bound.version.split("."))]
