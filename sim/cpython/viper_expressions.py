"""Types and rewrites the expressions of a viper function; see viper32.py.

In: an expression's tree. Out: the tree CPython is to run, and its viper type, inferred as
py/emitnative.c does: an operation has the type of its left operand, a load is an int.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any, NoReturn

from sim.cpython.viper_memory import POINTERS

INTEGERS = ("int", "uint")
TYPES = ("object", "bool", *INTEGERS, "ptr", *POINTERS)
_CASTS = set(TYPES) - {"object"}
_SMALL_INT = 1 << 30  # mpy-cross -msmall-int-bits=31: larger literals are heap objects
_OPERATIONS: dict[type[ast.AST], Callable[..., int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_FOLD: dict[type[ast.AST], Callable[..., int]] = {
    **_OPERATIONS,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.UAdd: operator.pos,
}
_EXACT = (ast.BitAnd, ast.BitOr, ast.BitXor, ast.Mod)  # can't leave the word
_COMPARISONS = (ast.Lt, ast.Gt, ast.Eq, ast.LtE, ast.GtE, ast.NotEq)


_LOADED = {"ptr8": (0, 0xFF), "ptr16": (0, 0xFFFF)}  # what loads give
_WORD = "__viper_word"  # a local that holds what is being looked at
_DIGIT = 1 << 30  # what CPython compares fastest lies within; most words do


class ViperTypeError(TypeError):
    """The board's compiler would refuse this function."""


Typed = tuple[ast.expr, str]
Span = tuple[int, int]


def known(made: ast.expr, span: Span | None) -> ast.expr:
    """The expression, which never leaves `span`: what cannot leave a word is not held in one."""
    made.span = span  # type: ignore[attr-defined]
    return made


def reach(op: ast.operator, a: Span, b: Span) -> Span | None:
    """Between which values an operation's results lie, if that is easily told."""
    match op:
        case ast.Add():
            return a[0] + b[0], a[1] + b[1]
        case ast.Sub():
            return a[0] - b[1], a[1] - b[0]
        case ast.Mult():
            corners = [x * y for x in a for y in b]
            return min(corners), max(corners)
        case ast.BitAnd() if a[0] >= 0 or b[0] >= 0:
            return 0, min(high for low, high in (a, b) if low >= 0)
        case ast.RShift() if b[0] == b[1] >= 0:
            return a[0] >> b[0], a[1] >> b[0]
    return None


class Expressions:
    def __init__(
        self,
        definition: ast.FunctionDef,
        names: dict[str, Any],
        consts: set[str],
        word: int,
        strict: bool,
    ) -> None:
        self.definition = definition
        self.consts = {name: names[name] for name in consts if name in names}
        self.word = word
        self.strict = strict
        self.locals: dict[str, str] = {}
        self.assigned: set[str] = set()
        self.returns = "object"
        self.line = definition.lineno
        self.serial = 0

    def refuse(self, words: str) -> NoReturn:
        raise ViperTypeError(f"{self.definition.name}, line {self.line}: {words}")

    def expression(self, node: ast.expr) -> Typed:
        made, kind = self.typed(node)
        return ast.copy_location(made, node), kind

    def typed(self, node: ast.expr) -> Typed:
        folded = self.folded(node)
        if folded is not None:
            return ast.Constant(folded), (
                "int" if -_SMALL_INT <= folded < _SMALL_INT else "object"
            )
        match node:
            case ast.Constant(bool() as value):
                return ast.Constant(value), "bool"
            case ast.Constant(value):
                return ast.Constant(value), "object"
            case ast.Name(name):
                return self.name(name)
            case ast.UnaryOp(op, operand):
                return self.unary(op, operand)
            case ast.BinOp(left, op, right):
                return self.binary(left, op, right)
            case ast.Compare(left, [op], [right]):
                return self.compare(left, op, right)
            case ast.Subscript(value, index):
                return self.load(value, index)
            case ast.Attribute(value, attribute):
                made, kind = self.expression(value)
                if kind != "object":
                    self.refuse(f"'{kind}' has no attributes")
                return ast.Attribute(made, attribute, ast.Load()), "object"
            case ast.Call(function, args, keywords):
                return self.call(function, args, keywords)
        self.refuse(f"{type(node).__name__} has no place in a kernel")

    def folded(self, node: ast.expr) -> int | None:
        """The value of a constant integer expression; the parser folds these before typing."""
        match node:
            case ast.Constant(int() as value) if not isinstance(value, bool):
                return value
            case ast.Name(name) if name in self.consts and name not in self.locals:
                const = self.consts[name]
                return const if isinstance(const, int) else None
            case ast.UnaryOp(ast.USub() | ast.Invert() | ast.UAdd() as op, operand):
                a = self.folded(operand)
                return None if a is None else _FOLD[type(op)](a)
            case ast.BinOp(left, op, right) if type(op) in _FOLD:
                a, b = self.folded(left), self.folded(right)
                return None if a is None or b is None else _FOLD[type(op)](a, b)
        return None

    def name(self, name: str) -> Typed:
        if name in self.locals:
            return ast.Name(name, ast.Load()), self.locals[name]
        if name in self.assigned:
            self.refuse(f"local '{name}' used before type known")
        return ast.Name(name, ast.Load()), "object"

    def unary(self, op: ast.unaryop, operand: ast.expr) -> Typed:
        made, kind = self.expression(operand)
        if kind in INTEGERS:
            if isinstance(op, ast.Not):
                self.refuse("'not' not implemented")
            return self.word_of(ast.UnaryOp(op, made), kind), kind
        if kind == "object":
            return ast.UnaryOp(op, made), "object"
        self.refuse(f"can't do unary op of '{kind}'")

    def binary(self, left: ast.expr, op: ast.operator, right: ast.expr) -> Typed:
        a, kind = self.expression(left)
        b, other = self.expression(right)
        if kind == other == "object":
            return ast.BinOp(a, op, b), "object"
        if kind not in INTEGERS or other not in INTEGERS:
            self.refuse(f"can't do binary op between '{kind}' and '{other}'")
        if type(op) not in _OPERATIONS:
            self.refuse(f"binary op {type(op).__name__} not implemented")
        if isinstance(op, ast.FloorDiv | ast.Mod) and kind != "int":
            self.refuse("div/mod not implemented for uint")
        if isinstance(op, ast.FloorDiv | ast.Mod) and other == "uint":
            b = self.wrapped(b, "int")
        if isinstance(op, ast.LShift | ast.RShift):
            amount = b.value if isinstance(b, ast.Constant) else None
            if not (isinstance(amount, int) and 0 <= amount < self.word):
                b = self.helper("__viper_shift", b, ast.Constant(self.word))
        if isinstance(op, ast.FloorDiv):
            how = (ast.Constant(self.word), ast.Constant(self.strict))
            return self.word_of(self.helper("__viper_divide", a, b, *how), kind), kind
        made: ast.expr = ast.BinOp(a, op, b)
        low, high = self.word_span(kind)
        span = reach(op, self.span(a, kind), self.span(b, other))
        if span and low <= span[0] and span[1] <= high:
            return known(made, span), kind
        if isinstance(op, _EXACT) and kind == other:
            return made, kind
        return self.word_of(made, kind), kind

    def compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Typed:
        a, kind = self.expression(left)
        b, other = self.expression(right)
        made = ast.Compare(a, [op], [b])
        if kind == other == "object":
            return made, "object"
        if kind not in INTEGERS or other not in INTEGERS:
            self.refuse(f"can't do binary op between '{kind}' and '{other}'")
        if not isinstance(op, _COMPARISONS):
            self.refuse(f"binary op {type(op).__name__} not implemented")
        if kind != other:
            self.refuse("comparison of int and uint")
        return made, "bool"

    def load(self, value: ast.expr, index: ast.expr) -> Typed:
        base, base_kind = self.expression(value)
        at, kind = self.expression(index)
        if base_kind == "object":
            return ast.Subscript(base, self.boxed(at, kind), ast.Load()), "object"
        self.check_pointer(base_kind, kind, "load")
        made: ast.expr
        if self.plain(at):
            made = ast.Subscript(ast.Attribute(base, "view", ast.Load()), at, ast.Load())
        else:
            made = ast.Call(ast.Attribute(base, "load", ast.Load()), [at], [])
        return known(made, _LOADED.get(base_kind)), "int"

    @staticmethod
    def plain(index: ast.expr) -> bool:
        """A constant that a memoryview bounds as strictly as a Pointer would, only faster."""
        return (
            isinstance(index, ast.Constant) and isinstance(index.value, int) and index.value >= 0
        )

    def check_pointer(self, base: str, index: str, what: str) -> None:
        if base not in POINTERS:
            self.refuse(f"can't {what} {'from' if what == 'load' else 'to'} '{base}'")
        if index not in INTEGERS:
            self.refuse(f"can't {what} with '{index}' index")

    def call(self, function: ast.expr, args: list[ast.expr], keywords: list[ast.keyword]) -> Typed:
        if isinstance(function, ast.Name) and function.id in _CASTS - self.locals.keys():
            if len(args) != 1 or keywords:
                self.refuse(f"{function.id}() casts one value")
            return self.cast(args[0], function.id), function.id
        callee, kind = self.expression(function)
        if kind != "object":
            self.refuse(f"'{kind}' is not callable")
        if any(isinstance(arg, ast.Starred) for arg in args):
            self.refuse("star arguments have no place in a kernel")
        boxed = [self.boxed(*self.expression(arg)) for arg in args]
        named = [
            ast.keyword(word.arg, self.boxed(*self.expression(word.value))) for word in keywords
        ]
        return ast.Call(callee, boxed, named), "object"

    def cast(self, value: ast.expr, kind: str) -> ast.expr:
        made, was = self.expression(value)
        if was == "object":
            return self.convert(made, kind)
        if was.startswith("ptr") != kind.startswith("ptr"):
            self.refuse(f"{kind}() of '{was}': an address means nothing here")
        if kind.startswith("ptr"):
            return self.helper(
                "__viper_pointer", made, ast.Constant(kind), ast.Constant(self.word)
            )
        if kind in INTEGERS and was in INTEGERS and kind != was:
            return self.wrapped(made, kind)
        return made if kind != "bool" else self.helper("bool", made)

    def convert(self, made: ast.expr, kind: str) -> ast.expr:
        """mp_native_from_obj: an object becomes a native value; integers are truncated."""
        if kind == "bool":
            return self.helper("bool", made)
        if kind in INTEGERS:
            # An int is by far the most frequent object: it is spared the call.
            value = ast.NamedExpr(ast.Name(_WORD, ast.Store()), made)
            exactly = ast.Name("__viper_exactly", ast.Load())
            is_int = ast.Compare(
                ast.Attribute(value, "__class__", ast.Load()), [ast.Is()], [exactly]
            )
            name = ast.Name(_WORD, ast.Load())
            return self.wrapped(ast.IfExp(is_int, name, self.helper("__viper_int", name)), kind)
        return self.helper("__viper_pointer", made, ast.Constant(kind), ast.Constant(self.word))

    def boxed(self, made: ast.expr, kind: str) -> ast.expr:
        """mp_native_to_obj: what a callee or an object's slot receives."""
        if kind.startswith("ptr"):
            self.refuse(f"'{kind}' as an object: an address means nothing here")
        return made

    def condition(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.BoolOp(op, values):
                return ast.copy_location(ast.BoolOp(op, [self.condition(v) for v in values]), node)
            case ast.UnaryOp(ast.Not(), operand):
                inverse = ast.UnaryOp(ast.Not(), self.condition(operand))
                return ast.copy_location(inverse, node)
        made, kind = self.expression(node)
        if kind.startswith("ptr"):
            self.refuse(f"can't implicitly convert '{kind}' to 'bool'")
        return made

    # -- machine words

    def word_of(self, made: ast.expr, kind: str) -> ast.expr:
        """The result of an operation, kept in a word."""
        if not self.strict:
            return self.wrapped(made, kind)
        low, high = self.word_span(kind)
        return self.helper("__viper_within", made, ast.Constant(low), ast.Constant(high))

    def wrapped(self, made: ast.expr, kind: str) -> ast.expr:
        mask = ast.Constant((1 << self.word) - 1)
        if kind == "uint":
            return ast.BinOp(made, ast.BitAnd(), mask)
        half = ast.Constant(1 << self.word - 1)
        value = ast.NamedExpr(ast.Name(_WORD, ast.Store()), made)
        name = ast.Name(_WORD, ast.Load())
        small = ast.Compare(
            ast.Constant(-_DIGIT), [ast.Lt(), ast.Lt()], [value, ast.Constant(_DIGIT)]
        )
        lifted = ast.BinOp(ast.BinOp(name, ast.Add(), half), ast.BitAnd(), mask)
        return ast.IfExp(small, name, ast.BinOp(lifted, ast.Sub(), half))

    def word_span(self, kind: str) -> Span:
        if kind == "uint":
            return 0, (1 << self.word) - 1
        return -1 << self.word - 1, (1 << self.word - 1) - 1

    def span(self, node: ast.expr, kind: str) -> Span:
        """The least and the greatest value that an expression can have."""
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value, node.value
        return getattr(node, "span", None) or self.word_span(kind)

    @staticmethod
    def helper(name: str, *args: ast.expr) -> ast.expr:
        return ast.Call(ast.Name(name, ast.Load()), list(args), [])
