"""Case tables: one benchmark, a case for each row."""

from __future__ import annotations

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice

from tests.conftest import Project

BUILTIN = "sums/builtin-n10"


class TestRows:
    def test_two_rows_with_one_key_are_a_usage_error(self, project: Project) -> None:
        source = (project.path / "test_sums.py").read_text()
        project.benchmark(source.replace('how="loop", count=10', 'how="builtin", count=10'))
        result = project.run()
        assert result.ret != pytest.ExitCode.OK
        result.stdout.fnmatch_lines(
            [f"*two rows of one case table share the key '{BUILTIN}'; make their fields differ*"]
        )
