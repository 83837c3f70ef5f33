"""How a case ended: what went wrong is in its record, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.plugin import case_end

from tests.conftest import Project

BUILTIN, LOOP, MANY = "sums/builtin-n10", "sums/loop-n10", "sums/builtin-n99"


class TestFailures:
    def test_a_wrong_result_is_recorded_and_the_others_go_on(self, project: Project) -> None:
        source = (project.path / "test_sums.py").read_text()
        project.benchmark(source.replace("total == 45", "case.how == 'loop', 'the builtin is wrong'"))
        result = project.run()
        result.assert_outcomes(passed=1, failed=1, skipped=1, deselected=1)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        failed = project.records()[BUILTIN]
        assert (failed["status"], failed["metrics"]) == ("failed", {})
        assert failed["reason"].startswith("AssertionError: the builtin is wrong")
        assert f"- {BUILTIN}: failed: AssertionError: the builtin is wrong" in project.summary().replace("\\", "")
        assert project.records()[LOOP]["status"] == "measured"

    @pytest.mark.parametrize(
        ("body", "outcome", "status", "reason"),
        [
            ("pass", "failed", "failed", "takes the fixture 'measure' and never calls it"),
            ("measure(sum, [1]); measure(sum, [1])", "failed", "failed", "RuntimeError: measure(...) was called twice"),
            ("measure(object)", "failed", "failed", "TypeError: a benchmark returned object"),
            ("pytest.skip('not today')", "skipped", "skipped", "not today"),
            (
                "measure(sum, [1], kernel=Kernel('fa2', ran=('fa2',)))",
                "failed",
                "fell_back",
                "FellBackError: test_one/default: FELL_BACK",
            ),
        ],
    )
    def test_what_went_wrong_is_in_the_record(
        self, project: Project, body: str, outcome: str, status: str, reason: str
    ) -> None:
        project.benchmark(f"""
            import pytest
            from perfgate import Kernel

            def test_one(measure):
                {body}
        """)
        project.run().assert_outcomes(**{outcome: 1})
        record = project.records()["test_one/default"]
        assert record["status"] == status
        assert reason in record["reason"]

    @pytest.mark.parametrize(
        ("fixture", "outcomes"),
        [
            ("raise OSError('no model')", {"errors": 1}),
            ("yield; raise OSError('no model')", {"passed": 1, "errors": 1}),
        ],
        ids=["set-up", "tear-down"],
    )
    def test_so_is_a_fixture_that_broke(self, project: Project, fixture: str, outcomes: dict[str, int]) -> None:
        project.benchmark(f"""
            import pytest

            @pytest.fixture
            def model():
                {fixture}

            def test_one(model, measure):
                measure(sum, [1])
        """)
        project.run().assert_outcomes(**outcomes)
        record = project.records()["test_one/default"]
        assert (record["status"], record["reason"]) == ("failed", "OSError: no model")

    def test_a_strict_xfail_that_passes(self, project: Project) -> None:
        project.benchmark("""
            import pytest

            @pytest.mark.xfail(strict=True, reason="cannot add yet")
            def test_one(measure):
                measure(sum, [1])
        """)
        project.run().assert_outcomes(failed=1)
        assert project.records()["test_one/default"]["reason"] == "[XPASS(strict)] cannot add yet"


class TestMessage:
    """What of a failure a record keeps."""

    def message(self, fn: Callable[[], None], longrepr: str = "") -> str:
        report: Any = SimpleNamespace(longrepr=longrepr)
        return case_end._message(pytest.CallInfo.from_call(fn, "call"), report)

    def raising(self, error: BaseException) -> Callable[[], None]:
        def fail() -> None:
            raise error

        return fail

    def test_an_error_has_its_type_and_its_words(self) -> None:
        assert self.message(self.raising(OSError("no model"))) == "OSError: no model"
        assert self.message(self.raising(ValueError())) == "ValueError: "

    def test_a_skip_has_its_reason_alone(self) -> None:
        assert self.message(lambda: pytest.skip("not today")) == "not today"

    def test_what_pytest_adds_of_an_assertions_values_is_left_out(self) -> None:
        error = AssertionError("the builtin is wrong\nassert 45 == 46\n  +  where")
        assert self.message(self.raising(error)) == "AssertionError: the builtin is wrong"

    def test_a_long_one_is_cut(self) -> None:
        assert len(self.message(self.raising(OSError("x" * 10_000)))) == case_end.REASON_LIMIT

    def test_without_an_error_it_is_pytests_own_text(self) -> None:
        assert self.message(lambda: None, "[XPASS(strict)] " + "x" * 1_000).startswith("[XPASS(strict)] x")
        assert len(self.message(lambda: None, "x" * 1_000)) == case_end.REASON_LIMIT
