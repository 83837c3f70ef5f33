"""What has changed between two states of some files, one edit at a time."""

from __future__ import annotations

import pytest
from perfgate.baselines import code_changes

FILES = {
    "pkg/__init__.py": "",
    "pkg/blocks.py": '''
"""Blocks."""
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 256
SIZES = (BLOCK, 2 * BLOCK)
OTHER = 3


def forward(x, block=BLOCK):
    """Forward."""
    return x * block  # a comment


def sizes():
    return SIZES


def other():
    return OTHER


@functools.cache
def cached():
    return 1


class Shape:
    """A shape."""

    scale: int = 1

    def flops(self):
        return 2 * self.scale

    def bytes(self):
        def inner():
            return 4
        return inner()
''',
    "pkg/kernels.py": """
import jit_library


@jit_library.jit
def kernel(x):
    return helper(x)


@jit_library.jit
def helper(x):
    return x


def launch(x):
    return kernel(x)


def plain(x):
    return x


def compiled(x):
    return x


def never(x):
    return x


def compiles():
    return jit_library.compile(compiled)
""",
    "pkg/registry.py": """
from pkg import blocks
from pkg.blocks import BLOCK as WIDTH, forward

ALL = {}


def register(one):
    ALL[one] = one


register(forward)


def wide():
    return WIDTH


def through_the_module():
    return blocks.BLOCK


def make():
    return blocks.Shape()


def by_text():
    return getattr(blocks, "BLOCK")
""",
    "pkg/settings.py": """
import os
import jit_library

LEVEL = 1


def configure():
    os.environ["X"] = "1"
    return 1


def level():
    jit_library.set_level(LEVEL)


def quiet():
    return 1
""",
    "test_blocks.py": """
import pytest
from pkg import registry


@pytest.fixture
def thing():
    return 1


def test_wide(thing):
    assert registry.wide()
""",
    "prompts/en.txt": "one",
}
RAN = frozenset(
    {
        *(f"pkg/blocks.py:{name}" for name in ("forward", "sizes", "other", "Shape.flops", "Shape.bytes", "cached")),
        *("pkg/kernels.py:launch", "pkg/kernels.py:plain", "pkg/kernels.py:compiles"),
        *(f"pkg/registry.py:{name}" for name in ("register", "wide", "through_the_module", "make", "by_text")),
        *("pkg/settings.py:configure", "pkg/settings.py:level", "pkg/settings.py:quiet"),
        "test_blocks.py:test_wide",
    }
)


def between(changed: dict[str, str | None]) -> code_changes.Changes:
    old = {file: text.encode() for file, text in FILES.items()}
    new = {file: text.encode() for file, text in (FILES | changed).items() if text is not None}
    return code_changes.between(old, new, RAN)


def edited(file: str, before: str, after: str) -> code_changes.Changes:
    assert before in FILES[file]
    return between({file: FILES[file].replace(before, after, 1)})


def concerned(found: code_changes.Changes) -> set[str]:
    """The changed functions that ran, without their folder."""
    assert found.everything is None, found.everything
    return {name.removeprefix("pkg/") for name in found.functions & RAN}


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("pkg/blocks.py", "# a comment", "# another"),
        ("pkg/blocks.py", '"""Forward."""', '"""Forwards."""'),
        ("pkg/blocks.py", '"""Blocks."""', ""),
        ("pkg/blocks.py", "from torch import Tensor", "from numpy import ndarray"),
        ("pkg/blocks.py", "x * block", "(x * block)"),
        ("pkg/kernels.py", "def never(x):\n    return x", "def never(x):\n    return 2 * x"),
        ("pkg/kernels.py", "def never(x):\n    return x", ""),
        ("pkg/blocks.py", "OTHER = 3", "OTHER = 3\nNEW = 4\n\n\ndef new():\n    return NEW"),
        ("pkg/blocks.py", "import functools\n", "import functools\nimport math\n"),
    ],
)
def test_what_no_case_can_notice(file: str, before: str, after: str) -> None:
    assert concerned(edited(file, before, after)) == set()


@pytest.mark.parametrize(
    ("file", "before", "after", "expected"),
    [
        ("pkg/blocks.py", "x * block", "x + block", {"blocks.py:forward"}),
        ("pkg/blocks.py", "block=BLOCK", "block=2 * BLOCK", {"blocks.py:forward"}),
        ("pkg/blocks.py", "2 * self.scale", "3 * self.scale", {"blocks.py:Shape.flops"}),
        ("pkg/blocks.py", "return 4", "return 5", {"blocks.py:Shape.bytes"}),
        ("pkg/blocks.py", "OTHER = 3", "OTHER = 4", {"blocks.py:other"}),
        ("pkg/blocks.py", "scale: int = 1", "scale: int = 2", {"registry.py:make"}),
        ("pkg/blocks.py", "class Shape:", "class Shape(dict):", {"registry.py:make"}),
        (
            "pkg/blocks.py",
            "        return inner()\n",
            "        return inner()\n\n    def new(self): ...\n",
            {"registry.py:make"},
        ),
        ("pkg/blocks.py", "@functools.cache\n", "", {"blocks.py:cached"}),
        ("pkg/kernels.py", "return helper(x)", "return 2 * helper(x)", {"kernels.py:launch"}),
        ("pkg/kernels.py", "def helper(x):\n    return x", "def helper(x):\n    return 2 * x", {"kernels.py:launch"}),
        (
            "pkg/kernels.py",
            "def compiled(x):\n    return x",
            "def compiled(x):\n    return 2 * x",
            {"kernels.py:compiles"},
        ),
        ("pkg/registry.py", "BLOCK as WIDTH", "OTHER as WIDTH", {"registry.py:wide"}),
        ("pkg/settings.py", "def quiet():\n    return 1", "def quiet():\n    return 2", {"settings.py:quiet"}),
        ("pkg/settings.py", '"1"\n    return 1', '"1"\n    return 2', {"settings.py:configure"}),
        ("test_blocks.py", "registry.wide()", "not registry.wide()", {"test_blocks.py:test_wide"}),
    ],
)
def test_whom_an_edit_concerns(file: str, before: str, after: str, expected: set[str]) -> None:
    assert concerned(edited(file, before, after)) == expected


def test_a_constant_is_followed_wherever_it_is_named() -> None:
    found = concerned(edited("pkg/blocks.py", "BLOCK = 256", "BLOCK = 96"))
    assert found == {
        "blocks.py:forward",
        "blocks.py:sizes",
        *(f"registry.py:{name}" for name in ("wide", "through_the_module", "by_text")),
    }


def test_a_function_that_moves_concerns_who_ran_it_and_who_names_it() -> None:
    text = "\n\ndef other():\n    return OTHER\n"
    found = between(
        {
            "pkg/blocks.py": FILES["pkg/blocks.py"].replace(text, "", 1),
            "pkg/kernels.py": FILES["pkg/kernels.py"] + text,
        }
    )
    assert concerned(found) == {"blocks.py:other"}


@pytest.mark.parametrize(
    ("file", "before", "after", "why"),
    [
        ("prompts/en.txt", "one", "two", "prompts/en.txt has changed"),
        ("pkg/registry.py", "register(forward)", "register(print)", "does more than bind names on import"),
        ("pkg/registry.py", "register(forward)", "", "does more than bind names on import"),
        ("pkg/blocks.py", "def forward(x", "@functools.cache\ndef forward(x", "uses forward, which has changed"),
        ("pkg/blocks.py", "OTHER = 3", "OTHER = input()", "what is called on import has changed"),
        ("pkg/blocks.py", "import functools\n", "import functools\nimport unheard_of\n", "unheard_of is imported"),
        (
            "pkg/kernels.py",
            "    return kernel(x)",
            "    import unheard_of\n    return kernel(x)",
            "unheard_of is imported",
        ),
        ("pkg/blocks.py", "OTHER = 3", "OTHER = 3\n\n\ndef __getattr__(name): ...", "__getattr__ has changed"),
        ("test_blocks.py", "import pytest\n", "import pytest\npytestmark = []\n", "pytestmark has changed"),
        ("test_blocks.py", "def thing():\n", "def other_thing():\n", "a fixture is new, gone or declared otherwise"),
        (
            "test_blocks.py",
            "@pytest.fixture\n",
            "@pytest.fixture(autouse=True)\n",
            "a fixture is new, gone or declared",
        ),
        ("pkg/settings.py", '["X"] = "1"', '["X"] = "2"', "sets something else of a module"),
        ("pkg/settings.py", "def quiet():\n", "def quiet():\n    global LEVEL\n", "sets something else of a module"),
        ("pkg/settings.py", "set_level(LEVEL)", "set_level(2)", "sets something else of a module"),
        ("pkg/settings.py", "LEVEL = 1", "LEVEL = 2", "uses what has changed, and sets something"),
        ("pkg/blocks.py", "def sizes():", "def sizes(:", "cannot be read as Python"),
        ("pkg/blocks.py", "OTHER = 3", "OTHER = 3\nif OTHER:\n    BLOCK = 4\n", "does more than bind names on import"),
    ],
)
def test_what_concerns_every_case(file: str, before: str, after: str, why: str) -> None:
    found = edited(file, before, after)
    assert found.everything is not None
    assert why in found.everything


@pytest.mark.parametrize(("file", "text"), [("conftest.py", "X = 1"), ("pkg/conftest.py", ""), ("prompts/ja.txt", "x")])
def test_a_file_that_pytest_or_a_case_may_find_by_itself_concerns_every_case(file: str, text: str) -> None:
    found = between({file: text})
    assert found.everything is not None
    assert found.everything.startswith(file)


def test_a_new_module_concerns_who_imports_it() -> None:
    """It only binds names, so that importing it does nothing else; one that does more concerns all."""
    files = {
        "pkg/new.py": "def forward(x):\n    return x\n",
        "pkg/registry.py": FILES["pkg/registry.py"].replace(
            "def wide():\n    return WIDTH", "def wide():\n    from pkg import new\n    return new.forward(1)"
        ),
    }
    assert concerned(between(files)) == {"registry.py:wide"}
    found = between(files | {"pkg/new.py": files["pkg/new.py"] + "print()\n"})
    assert found.everything is not None


def test_a_module_that_is_gone_concerns_who_ran_its_functions() -> None:
    found = between({"pkg/kernels.py": None})
    assert found.everything == "jit_library is imported for the first time, or no longer" or concerned(found) >= {
        "kernels.py:launch"
    }


@pytest.mark.parametrize("name", ["make", "wide"])
def test_lambdas_of_a_module_are_its_own(name: str) -> None:
    """A case that ran one depends on all code of the module that no function holds and that has one."""
    old = {"a.py": b"KEY = 1\nWEIGH = lambda: KEY\nOTHER = 2\n"}
    ran = {"a.py:<module>"}
    assert code_changes.between(old, {"a.py": b"KEY = 2\nWEIGH = lambda: KEY\nOTHER = 2\n"}, ran).functions == ran
    assert code_changes.between(old, {"a.py": b"KEY = 1\nWEIGH = lambda: 3\nOTHER = 2\n"}, ran).functions == ran
    assert code_changes.between(old, {"a.py": b"KEY = 1\nWEIGH = lambda: KEY\nOTHER = 3\n"}, ran).functions == set()
    del name
