"""One Python file taken apart: its functions, and what runs when it is imported. Read, never run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from perfgate.measure.code_trace import MODULE

PLAIN = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
"""Statements that bind names and do nothing else, unless they call something. What is beside these at the top of a
module or class may do anything: register, patch, configure."""
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
Definition = ast.FunctionDef | ast.AsyncFunctionDef
NESTED = (ast.If, ast.Try, ast.TryStar, ast.ExceptHandler, ast.With)
"""Statements at the top of a module or class whose definitions are the module's or class's own."""
_OF_PYTHON = {"abstractmethod", "cache", "cached_property", "classmethod", "contextmanager", "final", "lru_cache"}
_OF_PYTHON |= {"overload", "override", "property", "setter", "staticmethod", "wraps"}
CALLING = frozenset({*_OF_PYTHON, "fixture", "hookimpl", "parametrize"})
"""Decorators that call the function that they take, as it is."""
HARMLESS_CALLS = frozenset({"dict", "float", "frozenset", "int", "len", "list", "range", "set", "str", "tuple"})
SETTING = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Delete)
UNNAMED = (ast.Lambda, ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp)


@dataclass(frozen=True)
class Function:
    """A function, or all of one name. ``text`` tells whether its code is the same; ``mentions`` are the names in it,
    those of attributes and in texts with a dot before; ``decorated``: by what may read its source; ``holder`` is the
    name in the module that holds it: its class's, or its own; ``reaches_out`` is what in it changes modules and global
    variables."""

    text: str
    mentions: frozenset[str]
    decorated: bool
    holder: str
    reaches_out: str = ""

    def __add__(self, other: Function) -> Function:
        return Function(
            self.text + other.text,
            self.mentions | other.mentions,
            self.decorated or other.decorated,
            self.holder,
            self.reaches_out + other.reaches_out,
        )


@dataclass(frozen=True)
class Statement:
    """What runs on import. ``binds`` are the names that it gives the module; ``plain``: it does nothing else, as far as
    can be seen; ``calls`` are the calls in it, which may. A function's definition is one, with its decorators alone."""

    text: str
    binds: frozenset[str]
    mentions: frozenset[str]
    plain: bool
    calls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Imported:
    """``from module import name as bound``, or ``import module as bound`` where ``name`` is None. Relative imports have
    their dots."""

    module: str
    name: str | None
    bound: str


@dataclass(frozen=True)
class ModuleCode:
    """A file's functions by qualified name, its statements in order, and all of its imports, wherever they are;
    ``by_name``: it imports modules by names that are made as it runs."""

    functions: Mapping[str, Function] = field(default_factory=dict)
    statements: tuple[Statement, ...] = ()
    imports: tuple[Imported, ...] = ()
    by_name: bool = False


def parse(source: bytes) -> ModuleCode:
    """Take a file apart.

    Raises:
        SyntaxError: it is no Python of this version.
        ValueError: it cannot be decoded.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        _without_docstring(node)
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            node.body = [ast.Pass()]
    imports = tuple(one for node in ast.walk(tree) for one in _imports(node))
    imported = frozenset(one.bound for one in imports)
    functions: dict[str, Function] = {}
    for name, definition in (found for node in tree.body for found in _definitions(node, "")):
        function = _function(name, definition, imported)
        functions[name] = functions[name] + function if name in functions else function
    unnamed = [one for one in tree.body for part in _without_functions(one) if isinstance(part, UNNAMED)]
    if unnamed:
        text, mentions = "".join(map(_text, unnamed)), frozenset().union(*map(_mentions, unnamed))
        functions[MODULE] = Function(text, mentions, decorated=False, holder=MODULE)
    by_name = not _mentions(tree).isdisjoint(("import_module", ".import_module", "__import__"))
    return ModuleCode(functions, tuple(_statements(tree.body)), imports, by_name)


def _function(name: str, node: Definition, imported: frozenset[str]) -> Function:
    decorators = {_last_name(one) for one in node.decorator_list}
    return Function(
        text=_text(node),
        mentions=_mentions(node),
        decorated=not decorators <= CALLING,
        holder=name.partition(".")[0],
        reaches_out="".join(_reaching_out(node, imported)),
    )


def _last_name(node: ast.expr) -> str:
    """The name of a decorator or of what is called: ``part`` of ``module.part(...)``."""
    if isinstance(node, ast.Call):
        return _last_name(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _reaching_out(function: Definition, imported: frozenset[str]) -> Iterator[str]:
    """What in a function sets what outlives the call: a global variable, or something of a module."""
    for node in ast.walk(function):
        if isinstance(node, ast.Global):
            yield _text(node)
        elif isinstance(node, ast.Call):
            name = _last_name(node)
            if name in ("setattr", "delattr") or (name.startswith("set_") and _first_name(node.func) in imported):
                yield _text(node)
        elif isinstance(node, SETTING) and any(_is_set(one) and _first_name(one) in imported for one in ast.walk(node)):
            yield _text(node)


def _is_set(node: ast.AST) -> bool:
    return isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load)


def _first_name(node: ast.AST) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _without_docstring(node: ast.AST) -> None:
    body = getattr(node, "body", None)
    if isinstance(node, (*DEFINITIONS, ast.ClassDef, ast.Module)) and body and _is_text(body[0]):
        body[0] = ast.Pass()


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_type_checking(test: ast.expr) -> bool:
    return (test.id if isinstance(test, ast.Name) else getattr(test, "attr", None)) == "TYPE_CHECKING"


def _statements(body: list[ast.stmt]) -> Iterator[Statement]:
    for node in (one for statement in body for one in _each_name(statement)):
        if isinstance(node, ast.Pass) or _is_text(node):
            continue
        shell = [part for part in _without_functions(node) if part is not node]
        mentions = frozenset(word for part in (node, *shell) for word in _words(part))
        yield Statement(
            text=_shell_text(node),
            binds=_bound(node),
            mentions=mentions,
            plain=_is_plain(node),
            calls=() if isinstance(node, DEFINITIONS) else tuple(map(_text, _calls(shell))),
        )


def _each_name(node: ast.stmt) -> list[ast.stmt]:
    """An import of several names as one of each."""
    if isinstance(node, ast.Import):
        return [ast.Import([one]) for one in node.names]
    if isinstance(node, ast.ImportFrom):
        return [ast.ImportFrom(node.module, [one], node.level) for one in node.names]
    return [node]


def _calls(parts: list[ast.AST]) -> Iterator[ast.Call]:
    """The calls among these nodes, without those that can do nothing but make a value."""
    for part in parts:
        if isinstance(part, ast.Call) and not (isinstance(part.func, ast.Name) and part.func.id in HARMLESS_CALLS):
            yield part


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Definition]]:
    """The functions that a statement defines, by qualified name; those nested in them are theirs."""
    if isinstance(node, DEFINITIONS):
        yield prefix + node.name, node
    elif isinstance(node, (ast.ClassDef, *NESTED)):
        within = f"{prefix}{node.name}." if isinstance(node, ast.ClassDef) else prefix
        for one in ast.iter_child_nodes(node):
            yield from _definitions(one, within)


def _without_functions(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is in it; of functions only what runs where they are defined: the decorators."""
    yield node
    inside = node.decorator_list if isinstance(node, DEFINITIONS) else ast.iter_child_nodes(node)
    for one in inside:
        yield from _without_functions(one)


def _shell_text(node: ast.stmt) -> str:
    """A statement without the bodies and arguments of the functions in it: these are the functions' own."""
    return " ".join(
        f"def {part.name}" if isinstance(part, DEFINITIONS) else _own_text(part) for part in _without_functions(node)
    )


def _own_text(node: ast.AST) -> str:
    """A node's kind and its own values, without the nodes in it."""
    values = [value for _, value in ast.iter_fields(node) if not isinstance(value, (ast.AST, list))]
    lists = [one for _, value in ast.iter_fields(node) if isinstance(value, list) for one in value]
    names = [one for one in lists if not isinstance(one, ast.AST)]
    shape = [len(value) for _, value in ast.iter_fields(node) if isinstance(value, list)]
    return f"{type(node).__name__}{values}{names}{shape}"


def _text(node: ast.AST) -> str:
    return ast.dump(node, annotate_fields=False)


def _is_plain(node: ast.AST) -> bool:
    if isinstance(node, ast.ClassDef):
        return all(isinstance(one, ast.Pass) or _is_text(one) or _is_plain(one) for one in node.body)
    if isinstance(node, ast.Assign):
        return all(_names_only(target) for target in node.targets)
    if isinstance(node, ast.AnnAssign):
        return _names_only(node.target)
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        return not node.orelse
    return isinstance(node, PLAIN)


def _names_only(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple):
        return all(_names_only(one) for one in target.elts)
    return isinstance(target, ast.Name)


def _bound(node: ast.stmt) -> frozenset[str]:
    """The names that a statement gives its module or class; those of a class's body are the class's."""
    if isinstance(node, (*DEFINITIONS, ast.ClassDef)):
        return frozenset((node.name,))
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return frozenset(one.bound for one in _imports(node))
    names = [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]
    inside = [one for one in ast.walk(node) if isinstance(one, (*DEFINITIONS, ast.ClassDef))]
    imported = [one.bound for part in ast.walk(node) for one in _imports(part)]
    return frozenset((*names, *imported, *(one.name for one in inside)))


def _imports(node: ast.AST) -> Iterator[Imported]:
    if isinstance(node, ast.Import):
        for one in node.names:
            yield Imported(one.name, None, one.asname or one.name.partition(".")[0])
    elif isinstance(node, ast.ImportFrom):
        for one in node.names:
            yield Imported("." * node.level + (node.module or ""), one.name, one.asname or one.name)


def _mentions(node: ast.AST) -> frozenset[str]:
    return frozenset(word for part in ast.walk(node) for word in _words(part))


def _words(node: ast.AST) -> Iterator[str]:
    """The names in a node itself; those in texts too, by which an attribute may be looked up."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield f".{node.attr}"
    elif isinstance(node, ast.alias):
        yield from (*node.name.split("."), node.asname or "")
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from (f".{word}" for word in node.value.replace(":", ".").split(".") if word.isidentifier())
