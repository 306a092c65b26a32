"""Runs `@micropython.viper` functions on CPython with the ESP32's 32-bit machine words.

    kernel = compile_viper(function)                 words of 32 bits, wrapping silently
    compile_viper(function, strict=True)             OverflowError where a result would wrap
    compile_viper(function, word=64)                 what a desktop's VM makes of the same code

The function's source is typed as py/emitnative.c types it (each local by its first assignment, an
operation by its left operand) and rewritten so that every int and uint stays a machine word. What
the board's compiler refuses is refused when the function is defined, with its words; what would
crash or corrupt the board (an index out of bounds, a division by zero, a shift by more than a
word) raises when it happens. Language that kernels have no use for (try, with, closures, chained
comparisons, conditional expressions) is refused as well: the stand-in never guesses.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import textwrap
from collections.abc import Callable
from typing import Any

from sim.cpython.viper_expressions import INTEGERS, TYPES, Expressions, ViperTypeError
from sim.cpython.viper_memory import Pointer

__all__ = ["ViperTypeError", "compile_viper", "viper"]


def viper(function: Callable[..., Any]) -> Callable[..., Any]:
    """`@micropython.viper` as on the ESP32."""
    return compile_viper(function)


def compile_viper(
    function: Callable[..., Any], word: int = 32, strict: bool = False
) -> Callable[..., Any]:
    """Returns `function` (plain, or already compiled) on words of 32 or 64 bits."""
    function = getattr(function, "viper_source", function)
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(source)
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef):
        raise ViperTypeError("viper: expected a function")
    closure = inspect.getclosurevars(function).nonlocals  # a test's readers; globals on the board
    names = {**function.__globals__, **closure}
    module = "".join(linecache.getlines(function.__code__.co_filename))
    rewritten = _Compiler(definition, names, _consts(module), word, strict).function()
    # The helpers and the closure reach the function as arguments of one around it, so that its
    # globals are its own module's, as they are when it runs.
    outside = {**closure, **_HELPERS}
    maker = ast.parse(f"def make({', '.join(outside)}):\n    return None")
    assert isinstance(maker.body[0], ast.FunctionDef)
    maker.body[0].body = [rewritten, ast.Return(ast.Name(function.__name__, ast.Load()))]
    scope: dict[str, Any] = {}
    code = compile(ast.fix_missing_locations(maker), function.__code__.co_filename, "exec")
    exec(code, function.__globals__, scope)
    made = scope["make"](**outside)
    made.viper_source = function
    made.__module__ = function.__module__
    made.__doc__ = function.__doc__
    return made


def _to_int(value: Any) -> int:
    """mp_obj_get_int_truncated: integers and booleans, nothing else."""
    if not isinstance(value, int):
        raise TypeError(f"can't convert {type(value).__name__} to int")
    return int(value)


def _shift(amount: int, word: int) -> int:
    """A shift the machines agree on."""
    if not 0 <= amount < word:
        raise ValueError(f"shift by {amount}: undefined on a {word}-bit machine")
    return amount


def _overflow(value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise OverflowError(f"{value} leaves the machine word")
    return value


def _divide(number: int, by: int, word: int, strict: bool) -> int:
    """mp_small_int_floor_divide; it wraps for a dividend within `by` of the word's end."""
    if number >= 0 > by:
        number += -by - 1
    elif number < 0 <= by:
        number += -by + 1
    half = 1 << word - 1
    if strict:
        _overflow(number, -half, half - 1)
    number = (number + half & (1 << word) - 1) - half
    quotient = abs(number) // abs(by)  # C rounds towards zero
    return quotient if (number < 0) == (by < 0) else -quotient


_HELPERS = {
    "__viper_divide": _divide,
    "__viper_exactly": int,
    "__viper_int": _to_int,
    "__viper_pointer": Pointer,
    "__viper_shift": _shift,
    "__viper_within": _overflow,
}


@functools.lru_cache(maxsize=4)
def _consts(source: str) -> set[str]:
    """Names a module makes with const(): the compiler inlines these, and only these."""
    found = set()
    for node in ast.parse(source).body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id == "const"
        ):
            found.add(node.targets[0].id)
    return found


class _Compiler(Expressions):
    """Rewrites a whole function."""

    def function(self) -> ast.FunctionDef:
        args = self.definition.args
        if args.defaults or args.kwonlyargs or args.vararg or args.kwarg or args.posonlyargs:
            self.refuse("viper takes neither default nor keyword nor star arguments")
        entry: list[ast.stmt] = []
        for arg in args.args:
            kind = self.annotation(arg.annotation)
            self.locals[arg.arg] = kind
            if kind != "object":
                converted = self.convert(ast.Name(arg.arg, ast.Load()), kind)
                entry.append(ast.Assign([ast.Name(arg.arg, ast.Store())], converted))
            arg.annotation = None
        self.returns = self.annotation(self.definition.returns)
        for node in ast.walk(self.definition):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.assigned.add(node.id)
        body = self.block(self.definition.body)
        if self.returns != "object":
            body.append(ast.Return(ast.Constant(self.none_as(self.returns))))
        made = ast.FunctionDef(self.definition.name, args, entry + body, [])
        made.type_params = []  # type: ignore[attr-defined]  # Python 3.12 and later
        return ast.copy_location(made, self.definition)

    def annotation(self, node: ast.expr | None) -> str:
        if node is None:
            return "object"
        if not isinstance(node, ast.Name):
            self.refuse("annotation must be an identifier")
        if node.id not in TYPES:
            self.refuse(f"unknown type '{node.id}'")
        return node.id

    @staticmethod
    def none_as(kind: str) -> Any:
        return False if kind == "bool" else 0

    def block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        made: list[ast.stmt] = []
        for node in body:
            self.line = node.lineno
            for statement in self.statement(node):
                made.append(ast.copy_location(statement, node))
        return made or [ast.Pass()]

    def statement(self, node: ast.stmt) -> list[ast.stmt]:
        match node:
            case ast.Pass() | ast.Break() | ast.Continue():
                return [node]
            case ast.Expr(ast.Constant()):
                return []
            case ast.Expr(value):
                return [ast.Expr(self.expression(value)[0])]
            case ast.Assign([target], value):
                return self.assign(target, value)
            case ast.AugAssign(target, op, value):
                load: ast.expr
                if isinstance(target, ast.Name):
                    load = ast.Name(target.id, ast.Load())
                elif isinstance(target, ast.Subscript):
                    load = ast.Subscript(target.value, target.slice, ast.Load())
                else:
                    self.refuse("augmented assignment to that")
                whole = ast.copy_location(ast.BinOp(load, op, value), node)
                return self.assign(target, whole)
            case ast.While(test, body, orelse):
                condition = self.condition(test)
                return [ast.While(condition, self.block(body), self.optional(orelse))]
            case ast.If(test, body, orelse):
                condition = self.condition(test)
                return [ast.If(condition, self.block(body), self.optional(orelse))]
            case ast.For(ast.Name(name), iterator, body, []):
                return self.loop(name, iterator, body)
            case ast.Return(value):
                return [ast.Return(self.result(value))]
            case ast.Raise(exc, None) if exc is not None:
                raised, kind = self.expression(exc)
                if kind != "object":
                    self.refuse("must raise an object")
                return [ast.Raise(raised, None)]
        self.refuse(f"{type(node).__name__} has no place in a kernel")

    def optional(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return self.block(body) if body else []

    def assign(self, target: ast.expr, value: ast.expr) -> list[ast.stmt]:
        made, kind = self.expression(value)
        if isinstance(target, ast.Name):
            self.declare(target.id, kind)
            return [ast.Assign([ast.Name(target.id, ast.Store())], made)]
        if not isinstance(target, ast.Subscript):
            self.refuse("assignment to that")
        base, base_kind = self.expression(target.value)
        index, index_kind = self.expression(target.slice)
        if base_kind == "object":
            slot = ast.Subscript(base, self.boxed(index, index_kind), ast.Store())
            return [ast.Assign([slot], self.boxed(made, kind))]
        self.check_pointer(base_kind, index_kind, "store")
        if kind not in ("bool", *INTEGERS):
            self.refuse(f"can't store '{kind}'")
        if self.plain(index) and kind == "int" and base_kind == "ptr32" and self.word == 32:
            view = ast.Attribute(base, "view", ast.Load())
            return [ast.Assign([ast.Subscript(view, index, ast.Store())], made)]
        store = ast.Attribute(base, "store", ast.Load())
        return [ast.Expr(ast.Call(store, [index, made], []))]

    def declare(self, name: str, kind: str) -> None:
        if name in self.consts:
            self.refuse(f"'{name}' is a const")
        if self.locals.setdefault(name, kind) != kind:
            self.refuse(f"local '{name}' has type '{self.locals[name]}' but source is '{kind}'")

    def loop(self, name: str, iterator: ast.expr, body: list[ast.stmt]) -> list[ast.stmt]:
        made: ast.expr
        match iterator:
            case ast.Call(ast.Name("range"), limits, []):
                bounds = [self.expression(limit) for limit in limits]
                if any(kind != "int" for _, kind in bounds):
                    self.refuse("range() counts ints")
                if len(bounds) == 3 and not isinstance(bounds[2][0], ast.Constant):
                    self.refuse("the step of range() must be constant")
                made = ast.Call(ast.Name("range", ast.Load()), [b for b, _ in bounds], [])
                kind = "int"
            case _:
                made, kind = self.expression(iterator)
                if kind != "object":
                    self.refuse(f"can't iterate over '{kind}'")
        self.declare(name, kind)
        return [ast.For(ast.Name(name, ast.Store()), made, self.block(body), [])]

    def result(self, value: ast.expr | None) -> ast.expr:
        if value is None or (isinstance(value, ast.Constant) and value.value is None):
            return ast.Constant(None if self.returns == "object" else self.none_as(self.returns))
        made, kind = self.expression(value)
        if kind != self.returns:
            self.refuse(f"return expected '{self.returns}' but got '{kind}'")
        if kind.startswith("ptr"):
            self.refuse("an address means nothing here")
        return made
