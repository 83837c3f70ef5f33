"""This process as one that measures."""

from __future__ import annotations

import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice

from tests.conftest import Project


class TestSession:
    def test_pins_are_in_every_record(self, project: Project) -> None:
        project.run()
        assert {record["pins"]["allocator"] for record in project.records().values()} == {"off: --no-pins"}
