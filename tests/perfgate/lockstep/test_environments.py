"""What ``--perfgate-versus`` can name: interpreters, overlays of this environment, revisions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from perfgate.lockstep import environments
from perfgate.lockstep.overlay import SideError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="--perfgate-versus is not for Windows")


class TestSide:
    def test_pins(self, index: Path, tmp_path: Path) -> None:
        with environments.open_side("toyone==1.0", tmp_path, ["toyone", "pytest", "absent"], lambda line: None) as side:
            assert side.versions == {"toyone": "1.0", "pytest": pytest.__version__}
            assert side.checkout == tmp_path

    def test_interpreter(self, tmp_path: Path) -> None:
        with environments.open_side(sys.executable, tmp_path, ["pytest"], lambda line: None) as side:
            assert (
                side.versions == environments.current(tmp_path, ["pytest"]).versions == {"pytest": pytest.__version__}
            )

    def test_what_is_no_python_is_said(self, tmp_path: Path) -> None:
        for text, message in (
            ("/bin/cat", "does not answer like"),
            (str(tmp_path), "no file that can be run"),
        ):
            with pytest.raises(SideError, match=message), environments.open_side(text, tmp_path, [], lambda line: None):
                pass

    def test_another_python_is_said(self, tmp_path: Path) -> None:
        other = tmp_path / "python"
        other.write_text('#!/bin/sh\necho \'{"python": [3, 4], "versions": {}}\'\n')
        other.chmod(0o755)
        with (
            pytest.raises(SideError, match=r"is Python 3\.4, this is 3\.\d+"),
            environments.open_side(str(other), tmp_path, [], lambda line: None),
        ):
            pass
