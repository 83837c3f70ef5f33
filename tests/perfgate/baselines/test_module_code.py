"""A Python file taken apart."""

from __future__ import annotations

import pytest
from perfgate.baselines.module_code import MODULE, Imported, ModuleCode, parse

TEXT = b'''
"""A module."""
import a.b
import c as d, e
from . import f
from .g import h as i, j
if TYPE_CHECKING:
    import never

X: int = 1
Y, Z = 1, [len(X)]
Z.w = 2
print(X)


@decorated(X)
def one(x=Y):
    """Doc."""
    from lazy import k
    return x.attribute + "pkg.text"


class K(Base):
    size = X

    @property
    def two(self):
        return lambda: self.three

    class Inner:
        def four(self): ...

    if X:
        def five(self): ...


try:
    def six(): ...
except ImportError:
    def seven(): ...

weigh = lambda one: one.heavy
'''


@pytest.fixture(scope="module")
def code() -> ModuleCode:
    return parse(TEXT)


def test_functions_by_qualified_name(code: ModuleCode) -> None:
    assert set(code.functions) == {"one", "K.two", "K.Inner.four", "K.five", "six", "seven", MODULE}
    assert {name: one.holder for name, one in code.functions.items()} == {
        **{name: name for name in ("one", "six", "seven", MODULE)},
        **dict.fromkeys(("K.two", "K.Inner.four", "K.five"), "K"),
    }
    assert [name for name, one in code.functions.items() if one.decorated] == ["one"], "a property reads no source"


def test_mentions(code: ModuleCode) -> None:
    assert code.functions["one"].mentions == {"decorated", "X", "Y", "x", "k", "", ".attribute", ".pkg", ".text"}
    assert code.functions[MODULE].mentions == {"weigh", "one", ".heavy"}


def test_imports_wherever_they_are(code: ModuleCode) -> None:
    assert set(code.imports) == {
        Imported("a.b", None, "a"),
        Imported("c", None, "d"),
        Imported("e", None, "e"),
        Imported(".", "f", "f"),
        Imported(".g", "h", "i"),
        Imported(".g", "j", "j"),
        Imported("lazy", "k", "k"),
    }
    assert not code.by_name
    assert parse(b"import importlib\nimportlib.import_module(x)").by_name


def test_statements_bind_names(code: ModuleCode) -> None:
    bound = [(sorted(one.binds), one.plain) for one in code.statements]
    assert bound == [
        *((["a"], True), (["d"], True), (["e"], True), (["f"], True), (["i"], True), (["j"], True)),
        ([], True),  # what is imported for types alone
        *((["X"], True), (["Y", "Z"], True), ([], False), ([], False), (["one"], True)),
        (["K"], False),  # a class with a condition in it
        (["seven", "six"], False),
        (["weigh"], True),
    ]


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("X = f()", 1),
        ("X = frozenset({1})", 0),
        ("X = frozenset(f(1))", 1),
        ("class K:\n    x = f()\n    def g(self): return h()", 1),
        ("@f()\nclass K: ...", 1),
        ("@f()\ndef g(x=h()): return i()", 0),
    ],
)
def test_calls_on_import(text: str, calls: int) -> None:
    (statement,) = parse(text.encode()).statements
    assert len(statement.calls) == calls


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("def f(): return 1", "def f():\n    '''Doc.'''\n    return 1  # why", False),
        ("def f(): pass; return 1", "def f():\n    '''Doc.'''\n    return 1  # why", True),
        ("def f(x): return x", "def f(x):\n    return (x)", True),
        ("def f(x=1): return x", "def f(x=2): return x", False),
        ("def f(x): return x", "def f(y): return y", False),
    ],
)
def test_the_same_code(before: str, after: str, same: bool) -> None:
    assert (parse(before.encode()).functions["f"].text == parse(after.encode()).functions["f"].text) is same


@pytest.mark.parametrize(
    ("body", "reaches_out"),
    [
        ("os.environ['X'] = '1'", True),
        ("torch.backends.x.y = 1", True),
        ("del os.environ['X']", True),
        ("global X", True),
        ("setattr(thing, 'x', 1)", True),
        ("torch.set_num_threads(1)", True),
        ("self.x = 1", False),
        ("thing['x'] = os.environ['X']", False),
        ("thing.set_size(1)", False),
    ],
)
def test_what_reaches_out_of_a_function(body: str, reaches_out: bool) -> None:
    function = parse(f"import os, torch\ndef f(self, thing):\n    {body}".encode()).functions["f"]
    assert bool(function.reaches_out) is reaches_out


def test_no_python() -> None:
    with pytest.raises(SyntaxError):
        parse(b"def (")
    with pytest.raises((SyntaxError, ValueError)):
        parse(b"x = '\xff'")
