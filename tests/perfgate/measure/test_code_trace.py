"""Which functions a case runs, seen while a small project runs."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from perfgate.measure.code_trace import CodeTrace, Traced

TOOLS = """
import functools

kept = {}


def helper():
    return 1


def setup():
    return helper() + 1


def make(name):
    return name * 2


def stored(name):
    if name not in kept:
        kept[name] = make(name)
    return kept[name]


def by(name, maker):
    if name not in kept:
        kept[name] = maker()
    return kept[name]


@functools.cache
def cached(name):
    return make(name)


def ask(name):
    return cached(name)


def one():
    return 1


def two():
    return other()


def other():
    return 2


def dispatch(function):
    return function()


def each(function, values):
    return [function(value) for value in values]


def nested():
    def inner():
        return (lambda: 3)()

    return inner()


def items():
    yield one()
    yield 2


def fails():
    raise ValueError


def survives():
    try:
        fails()
    except ValueError:
        return one()


def branches(first):
    if first:
        return one()
    return two()


def threaded():
    import threading

    thread = threading.Thread(target=helper)
    thread.start()
    thread.join()


class Thing:
    weigh = lambda self: 1

    def __init__(self):
        self.value = one()

    @property
    def double(self):
        return 2 * self.value


top = lambda: 4
ready = setup()
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], tuple[CodeTrace, ModuleType]]]:
    """Import the module while it is traced."""
    (tmp_path / "traced_tools.py").write_text(TOOLS)
    monkeypatch.syspath_prepend(tmp_path)
    before = sys.getprofile()

    def imported() -> tuple[CodeTrace, ModuleType]:
        trace = CodeTrace(tmp_path, ["traced_tools.py"])
        trace.start()
        return trace, importlib.import_module("traced_tools")

    yield imported
    threading.setprofile(None)
    sys.setprofile(before)
    sys.modules.pop("traced_tools", None)


Tools = Callable[[], tuple[CodeTrace, ModuleType]]


def ran(tools: Tools, *cases: Callable[[ModuleType], object]) -> Traced:
    """What cases "0", "1", ... ran, one after the other."""
    trace, module = tools()
    for number, case in enumerate(cases):
        with trace.part(str(number)):
            case(module)
    trace.stop()
    return trace.traced({})


def named(*names: str) -> frozenset[str]:
    return frozenset(f"traced_tools.py:{name}" for name in names)


def test_each_case_has_its_own_and_an_import_is_everybodys(tools: Tools) -> None:
    found = ran(tools, lambda m: m.branches(True), lambda m: m.two())
    assert found.shared == named("setup", "helper")
    assert found.cases["1"] == named("two", "other")
    assert found.of("1") == named("two", "other", "setup", "helper")
    assert found.of("unknown") is None


def test_the_table_that_made_a_case_is_the_cases_own(tools: Tools) -> None:
    trace, module = tools()
    for name, run in (("t.py::a", module.two), ("t.py::b", module.one), ("0", module.helper), ("1", module.nested)):
        with trace.part(name):
            run()
    trace.stop()
    found = trace.traced({"0": "t.py::a", "1": "t.py::b", "2": "t.py::c"})
    assert found.cases == {"0": named("two", "other"), "1": named("nested", "one")}


def test_what_runs_between_cases_is_everybodys(tools: Tools) -> None:
    trace, module = tools()
    with trace.part("0"):
        module.one()
    module.make("fixture")
    trace.stop()
    assert trace.traced({}).shared == named("setup", "helper", "make")
    assert trace.traced({}).cases == {"0": named("one")}


def test_who_finds_a_thing_made_depends_on_what_made_it(tools: Tools) -> None:
    found = ran(tools, lambda m: m.stored("x"), lambda m: m.stored("x"))
    assert found.cases["0"] == found.cases["1"] == named("stored", "make")


def test_a_cache_that_answers_calls_nothing(tools: Tools) -> None:
    """functools.cache does not run the function a second time: the place that asks calls nothing then."""
    found = ran(tools, lambda m: m.ask("x"), lambda m: m.ask("x"))
    assert found.cases["0"] == found.cases["1"] == named("ask", "cached", "make")


def test_another_choice_at_the_same_place_is_no_dependence(tools: Tools) -> None:
    """Both cases call something from there, each its own."""
    found = ran(tools, lambda m: m.dispatch(m.one), lambda m: m.dispatch(m.two))
    assert found.cases == {"0": named("dispatch", "one"), "1": named("dispatch", "two", "other")}


def test_a_branch_that_a_case_passes_by_counts(tools: Tools) -> None:
    found = ran(tools, lambda m: m.branches(True), lambda m: m.branches(False))
    assert found.cases["0"] == found.cases["1"] == named("branches", "one", "two", "other")


def test_one_run_that_passes_by_is_enough(tools: Tools) -> None:
    """The second case makes "y" itself, and finds "x" made."""
    found = ran(tools, lambda m: m.stored("x"), lambda m: (m.stored("y"), m.stored("x")))
    assert found.cases["1"] == named("stored", "make")


def test_what_another_function_made_counts_beside_what_the_case_makes(tools: Tools) -> None:
    found = ran(tools, lambda m: m.by("v", m.one), lambda m: (m.by("w", m.two), m.by("v", m.one)))
    assert found.cases["1"] == named("by", "two", "other", "one")


def test_names(tools: Tools) -> None:
    found = ran(
        tools,
        lambda m: m.nested(),
        lambda m: m.Thing().double,
        lambda m: m.top(),
        lambda m: m.Thing.weigh(None),
        lambda m: list(m.items()),
    )
    assert found.cases["0"] == named("nested")
    assert found.cases["1"] == named("Thing.__init__", "Thing.double", "one")
    assert found.cases["2"] == named("<module>")
    assert found.cases["3"] == named("<module>")
    assert found.cases["4"] == named("items", "one")


def test_errors_and_threads(tools: Tools) -> None:
    found = ran(tools, lambda m: m.survives(), lambda m: m.threaded())
    assert found.cases["0"] == named("survives", "fails", "one")
    assert found.cases["1"] == named("threaded"), "the helper is everybody's: the import ran it"
    assert found.shared == named("setup", "helper")


def test_a_compiled_function_hides_what_it_runs(tools: Tools) -> None:
    found = ran(tools, lambda m: _like_dynamo(m.one), lambda m: m.one())
    assert found.cases["0"] is None
    assert found.cases["1"] == named("one")


def _like_dynamo(function: Callable[[], object]) -> object:
    """Calls it from where torch's compiled functions are called."""
    source = """
class _TorchDynamoContext:
    def __call__(self, function):
        def compile_wrapper():
            return function()
        return compile_wrapper
"""
    names: dict[str, type] = {}
    exec(compile(source, "/site-packages/torch/_dynamo/eval_frame.py", "exec"), names)
    return names["_TorchDynamoContext"]()(function)()


def test_torch_calls_compiled_functions_from_there() -> None:
    """torch's own source has the function that the trace looks for."""
    import inspect

    eval_frame = pytest.importorskip("torch._dynamo.eval_frame")
    from perfgate.measure.code_trace import COMPILED

    assert (eval_frame.__file__ or "").endswith(COMPILED[0])
    source = inspect.getsource(eval_frame._TorchDynamoContext.__call__)
    assert "def compile_wrapper(" in source


def test_files_imported_before(tmp_path: Path, tools: Tools) -> None:
    trace, module = tools()
    assert trace.imported() == ["traced_tools.py"]
    assert CodeTrace(tmp_path, ["other.py"]).imported() == []
    trace.stop()
    late = CodeTrace(tmp_path, ["traced_tools.py"])
    late.start()
    with late.part("0"):
        module.one()
    late.stop()
    assert late.traced({}).cases == {"0": None}, "what the import ran was not seen"
