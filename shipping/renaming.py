"""Shorter names on the board: what only our own code can see is called `_a`, `_b` ... there.

Each name that an interpreter knows costs 12 to 40 bytes of a board's 100 kB for ever, and the
table of them doubles when it is full (py/qstr.c). So names of different modules share short
ones, and so do parameters that nobody passes by name. What the image offers keeps its name
(shipping/fixed_names.py), and so does what somebody may look for by what it is called.

In: the sources of everything that is shipped together. Out: the same, renamed; and for whoever
reads a traceback what the functions are really called.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from itertools import count, product
from string import ascii_lowercase

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Named = _Function | ast.ClassDef


Names = dict[str, dict[str, str]]  # by module: {short name: name in the source}


def renamed(
    sources: dict[str, str], beside: Iterable[str] = (), image: Collection[str] | None = None
) -> tuple[dict[str, str], Names]:
    """The sources by module ("metering.meter"), doing what they did. SyntaxError as ast.parse.

    beside: sources that use these and stay as they are. image: names of the image, which are not
    ours to change; without them only private names get shorter.
    """
    trees = {module: ast.parse(source, module) for module, source in sources.items()}
    for tree in trees.values():
        for owner in _all(tree, ast.ClassDef):
            # MicroPython keeps them as any attribute, and they do nothing.
            owner.body = [part for part in owner.body if not _are_slots(part)] or [ast.Pass()]
    said = {name for tree in trees.values() for name in _said(tree, sources)}
    for source in beside:
        said.update(_said(tree := ast.parse(source), ()), _names(tree), _passed(tree))
    passed = {name for tree in trees.values() for name in _passed(tree)}
    parameters = {arg.arg for tree in trees.values() for arg in _all(tree, ast.arg)}
    ours = _private(trees)
    if image is not None:
        ours |= _public(trees) - set(image) - _foreign_keywords(trees, image)
    ours -= said | {name for name in passed & parameters if image is None or name[0] == "_"}
    short = _shortened(trees, ours, passed)
    kept = said | passed
    for tree in trees.values():
        for function in _all(tree, _Function):
            _rename_locals(function.body, _parameters(function, kept, short))
        _rename(tree, short)
    names = {
        module: {short[name]: name for name in _names(ast.parse(source)) if name in short}
        for module, source in sources.items()
    }
    return {module: ast.unparse(tree) for module, tree in trees.items()}, names


def translated(source: str, names: Names) -> str:
    """A source that uses renamed ones, with what it asks them for, and what they ask it for, in
    their names. Its own variables, functions and private names keep theirs."""
    tree = ast.parse(source)
    short = {name: short for known in names.values() for short, name in known.items()}
    shared = Counter(short.values())
    alone = {name: a for name, a in short.items() if shared[a] == 1}
    own = {node.name for node in _all(tree, ast.ClassDef)}
    parameters = {arg.arg for arg in _all(tree, ast.arg)}
    strange = {alias.name for node in _all(tree, ast.Import) for alias in node.names} - set(names)
    for function in _all(tree, _Function):
        arguments = [*function.args.args, *function.args.kwonlyargs]
        passed = {arg.arg: alone[arg.arg] for arg in arguments if arg.arg in alone}
        for arg in arguments:
            arg.arg = passed.get(arg.arg, arg.arg)
        _rename_locals(function.body, passed)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in strange or (
                owner == "self" and name[0] == "_"
            ):
                pass
            case ast.Attribute(attr=name):
                node.attr = short.get(name, name)
            case ast.Call(func=function, keywords=keywords):
                for keyword in keywords:
                    name = keyword.arg or ""
                    # What a class of its own is given and no function takes becomes an attribute.
                    becomes = _called(function) in own and name not in parameters
                    keyword.arg = (short if becomes else alone).get(name, keyword.arg)
            case ast.ClassDef(body=body):
                for part in body:
                    match part:
                        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                            if name[0] != "_":
                                part.name = short.get(name, name)
                        case ast.Assign(targets=[ast.Name(id=name) as target]):
                            target.id = short.get(name, name)
            case ast.ImportFrom(module=module, names=aliases) if module in names:
                for alias in aliases:
                    alias.asname = alias.asname or alias.name
                    alias.name = short.get(alias.name, alias.name)
    return ast.unparse(tree)


def explained(text: str, names: Names) -> str:
    """A traceback, or a line that names functions like `metering.meter._c`, in the source's
    names."""
    if not names:
        return text

    def real(match: re.Match[str]) -> str:
        return match[1] + match[2] + names[match[1]].get(match[3], match[3])

    modules = "|".join(map(re.escape, names))
    return re.sub(rf'\b({modules})(\.|", line \d+, in )(_[a-z]+)\b', real, text)


def _said(tree: ast.Module, modules: Collection[str]) -> Iterator[str]:
    """Names that somebody may look for by what they are called: of modules, of exceptions (a
    report tells them), in texts."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(name)):
                yield name
            case ast.ClassDef(name=name, bases=bases) if _is_fault(bases):
                yield name
            case ast.Import(names=names):
                for alias in names:
                    yield from alias.name.split(".")
                    yield alias.asname or alias.name
            case ast.ImportFrom(module=module, names=names):
                yield from (module or "").split(".")
                for alias in names:
                    if module not in modules or f"{module}.{alias.name}" in modules:
                        yield alias.name
                    if alias.asname:
                        yield alias.asname


def _are_slots(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__"


def _is_fault(bases: list[ast.expr]) -> bool:
    return any(re.search(r"(Error|Exception|Fault)$", ast.unparse(base)) for base in bases)


def _passed(tree: ast.Module) -> Iterator[str]:
    """Parameters that are passed by name, or can't be passed otherwise."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg=str(name)):
                yield name
            case ast.arguments(kwonlyargs=arguments):
                yield from (argument.arg for argument in arguments)


def _foreign_keywords(trees: dict[str, ast.Module], image: Collection[str]) -> set[str]:
    """Parameters that are passed by name to what we did not write, as far as its name tells."""
    ours = {node.name for tree in trees.values() for node in _all(tree, _Named)} - set(image)
    ours = {name for name in ours if name[:2] != "__"}
    return {
        keyword.arg
        for tree in trees.values()
        for call in _all(tree, ast.Call)
        for keyword in call.keywords
        if keyword.arg and _called(call.func) not in ours
    }


def _called(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _names(tree: ast.AST, context: type = ast.expr_context) -> Iterator[str]:
    """What is a variable, an attribute or a function in it; context: ast.Store, what it sets."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ctx) | ast.Attribute(attr=name, ctx=ctx):
                if isinstance(ctx, context):
                    yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.ImportFrom(names=names):
                yield from (alias.name for alias in names)


def _private(trees: dict[str, ast.Module]) -> set[str]:
    return {
        name
        for tree in trees.values()
        for name in _names(tree, ast.Store)
        if name[0] == "_" and not name.endswith("__")
    }


def _public(trees: dict[str, ast.Module]) -> set[str]:
    """What is not a function's own: functions, classes, their attributes, variables of modules,
    and parameters that are passed by name."""
    found: set[str] = set()
    for tree in trees.values():
        found.update(node.name for node in _all(tree, _Named))
        found.update(_passed(tree))
        for attribute in _all(tree, ast.Attribute):
            if isinstance(attribute.ctx, ast.Store):
                found.add(attribute.attr)
        for owner in (tree, *_all(tree, ast.ClassDef)):
            for statement in owner.body:
                if not isinstance(statement, _Named):
                    found.update(
                        name.id
                        for name in _all(statement, ast.Name)
                        if isinstance(name.ctx, ast.Store)
                    )
    return {name for name in found if name[0] != "_"}


def _shortened(
    trees: dict[str, ast.Module], ours: set[str], passed: Collection[str]
) -> dict[str, str]:
    """Our names and their short ones. Two share one if they can't meet in an object or a module:
    they are in different modules, of which no class inherits from one of the other, and nobody
    outside sets them."""
    families = _families(trees)
    everywhere = set(families.values())
    seen: dict[str, set[str]] = defaultdict(set)
    for module, tree in trees.items():
        for name in _names(tree):
            seen[name].add(families[module])
        for node in _all(tree, ast.Attribute):
            if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) != "self":
                seen[node.attr] |= everywhere
    for name in passed:
        seen[name] |= everywhere  # **parts may become anybody's attributes
    taken: dict[str, set[str]] = defaultdict(set)
    short: dict[str, str] = {}
    for name in sorted(ours, key=lambda name: (name.isupper(), -len(seen[name]), name)):
        short[name] = next(s for s in _short() if s not in seen and not taken[s] & seen[name])
        taken[short[name]] |= seen[name]
    return short


def _families(trees: dict[str, ast.Module]) -> dict[str, str]:
    """Modules whose classes inherit from one another have the same value."""
    family = {module: module for module in trees}
    for module, tree in trees.items():
        bases = {
            name.id
            for node in _all(tree, ast.ClassDef)
            for base in node.bases
            for name in _all(base, ast.Name)
        }
        for other, name in _imports(tree):
            if name in bases and other in family:
                old, new = family[other], family[module]
                family = {m: new if f == old else f for m, f in family.items()}
    return family


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each imported module and a name by which the importing one knows it, or part of it."""
    for node in _all(tree, ast.Import):
        for alias in node.names:
            yield alias.name, (alias.asname or alias.name).split(".")[0]
    for node in _all(tree, ast.ImportFrom):
        for alias in node.names:
            yield node.module or "", alias.asname or alias.name
            yield f"{node.module}.{alias.name}", alias.asname or alias.name


def _parameters(
    function: _Function, kept: Collection[str], renamed: Collection[str]
) -> dict[str, str]:
    """Renames positional parameters; what they are called in the body now."""
    inside = [node for part in function.body for node in ast.walk(part)]
    used = {node.id for node in inside if isinstance(node, ast.Name)}
    # Names that an inner function or a handler gives to something else.
    given = {node.arg for node in inside if isinstance(node, ast.arg)}
    named = (_Named, ast.ExceptHandler)
    given |= {node.name or "" for node in inside if isinstance(node, named)}
    arguments = function.args
    others = [*arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    given |= {arg.arg for arg in others if arg}
    taken = used | given
    free = (name[1:] for name in _short())
    free = (n for n in free if n not in taken and n not in kept and n not in renamed)
    short = {}
    for arg in arguments.args:
        if arg.arg != "self" and arg.arg not in kept and arg.arg not in given:
            short[arg.arg] = arg.arg = next(free)
    return short


def _rename_locals(body: Iterable[ast.AST], short: dict[str, str]) -> None:
    for node in (node for part in body for node in ast.walk(part)):
        match node:
            case ast.Name(id=name):
                node.id = short.get(name, name)
            case ast.Nonlocal(names=names):
                node.names = [short.get(name, name) for name in names]


def _rename(tree: ast.Module, short: dict[str, str]) -> None:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name):
                node.id = short.get(name, name)
            case ast.Attribute(attr=name):
                node.attr = short.get(name, name)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                node.name = short.get(node.name, node.name)
            case ast.ExceptHandler(name=str(name)):
                node.name = short.get(name, name)
            case ast.arg(arg=name) | ast.keyword(arg=str(name)):
                node.arg = short.get(name, name)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                node.names = [short.get(name, name) for name in names]
            case ast.ImportFrom(names=aliases):
                for alias in aliases:
                    alias.name = short.get(alias.name, alias.name)


def _short() -> Iterator[str]:
    """_a, _b ... _z, _aa and so on."""
    for length in count(1):
        for letters in product(ascii_lowercase, repeat=length):
            yield "_" + "".join(letters)


def _all(tree: ast.AST, kind):
    return [node for node in ast.walk(tree) if isinstance(node, kind)]
