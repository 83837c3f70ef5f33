"""Which packages are installed from a checkout, and the ``.pth`` lines that an overlay repeats."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from perfgate.lockstep.installed_projects import installed_from, path_lines

from tests.support.wheels import unpacked


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of packages on Python's path."""
    folder = tmp_path / "venv/site-packages"
    folder.mkdir(parents=True)
    others = [path for path in sys.path if Path(path).name not in ("site-packages", "dist-packages")]
    monkeypatch.setattr(sys, "path", [str(folder), *others])
    return folder


def from_folder(site: Path, name: str, folder: Path, *, editable: bool = True, pth: str = "") -> None:
    """Install a package from a folder, as pip notes it down."""
    origin = json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True} if editable else {}})
    unpacked(site, name, "1.0", more={"direct_url.json": origin})
    if pth:
        (site / f"_{name}.pth").write_text(pth)
        record = site / f"{name}-1.0.dist-info/RECORD"
        record.write_text(record.read_text() + f"_{name}.pth,,\n")


def test_editable_packages_and_copies_of_the_checkout_are_found(site: Path, tmp_path: Path) -> None:
    top = tmp_path / "my project"
    from_folder(site, "toyone", top)
    from_folder(site, "toytwo", top / "packages/two", editable=False)
    from_folder(site, "toythree", tmp_path / "elsewhere")
    from_folder(site, "perfgate", top)  # comes from this environment on both sides
    unpacked(site, "toyfour", "1.0")
    unpacked(site, "toyfive", "1.0", more={"direct_url.json": '{"url": "https://x/y.whl", "archive_info": {}}'})
    unpacked(site, "toysix", "1.0", more={"direct_url.json": "no JSON"})
    assert installed_from(top) == {"toyone": top, "toytwo": top / "packages/two"}


def test_an_overlay_repeats_pth_lines_apart_from_those_of_what_it_installs_itself(site: Path, tmp_path: Path) -> None:
    source, shared = tmp_path / "src", site / "shared"
    for folder in (source, shared):
        folder.mkdir()
    from_folder(site, "toyone", tmp_path, pth="import _toyone_finder\n")
    from_folder(site, "toytwo", tmp_path, pth=f"{source}\n")
    (site / "b.pth").write_text(f"# a comment\n\nshared\n{tmp_path / 'gone'}\nimport sys\n")
    assert path_lines(()) == [str(site), "import _toyone_finder", str(source), str(shared), "import sys"]
    assert path_lines({"toyone"}) == [str(site), str(source), str(shared), "import sys"]
    assert path_lines({"toyone", "toytwo"}) == [str(site), str(shared), "import sys"]
