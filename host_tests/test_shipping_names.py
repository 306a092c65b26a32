"""What is shipped does what the source does, with fewer names; and its tracebacks can be read."""

from __future__ import annotations

import ast
import sys
import types
from itertools import permutations

import pytest
from conftest import ROOT

from shipping.firmware import names as firmware_names
from shipping.inlining import inlined
from shipping.renaming import explained, renamed, translated

BASE = """
_limit = 7

class Base:
    _kind = "base"

    def __init__(self, first, second=2):
        self._first = first
        self._second = second

    def _sum(self, amount_of_it):
        def add(more):
            return amount_of_it + more + _limit
        return add(self._first) + self._second
"""
HEIR = """
from base import Base

class Heir(Base):
    def __init__(self, first, third):
        super().__init__(first, second=5)
        self._third = third
        self._a = 100

    def total(self, weight=1):
        values = [weight * value for value in (self._first, self._third)]
        return self._sum(weight) + sum(values) + self._a + len(self._kind)
"""
APART = """
_calls = 0

class Apart:
    def __init__(self):
        self._named = 3
        self._told = 4

    def named(self, which):
        global _calls
        _calls += 1
        return getattr(self, which), getattr(self, "_named"), self._told, _calls
"""


def load(sources: dict[str, str]) -> dict[str, types.ModuleType]:
    modules = {name: types.ModuleType(name) for name in sources}
    sys.modules.update(modules)
    try:
        for name, source in sources.items():
            exec(source, modules[name].__dict__)
            package, _, part = name.rpartition(".")
            if package:
                setattr(modules[package], part, modules[name])
    finally:
        for name in sources:
            del sys.modules[name]
    return modules


def test_classes_that_inherit_over_modules_keep_their_attributes_apart():
    sources = {"base": BASE, "heir": HEIR}
    short, names = renamed(sources)
    assert load(short)["heir"].Heir(10, 20).total(2) == load(sources)["heir"].Heir(10, 20).total(2)
    assert "_third" in names["heir"].values()
    assert not any(name in short["heir"] for name in ("_third", "_first", "_sum", "weight"))


ROOT_CLASS = """
class Root:
    def __init__(self):
        self._kept_here = 1
        self._second_here = 2

    def here(self):
        return self._kept_here, self._second_here
"""
HEIR_OF = """
class Heir({base}):
    def __init__(self):
        super().__init__()
        self._also_kept = 10
        self._kept_too = 20

    def all(self):
        return self.here(), self._also_kept, self._kept_too
"""


def heir(imports: str, base: str) -> str:
    return imports + HEIR_OF.format(base=base)


@pytest.mark.parametrize(
    ("imports", "base"),
    [
        ("from pack.root import Root", "Root"),
        ("from pack.root import Root as Known", "Known"),
        ("from pack import root", "root.Root"),
        ("from pack import root as known", "known.Root"),
        ("import pack.root", "pack.root.Root"),
        ("import pack.root as known", "known.Root"),
    ],
)
def test_a_class_is_known_as_an_heir_however_its_base_is_imported(imports, base):
    sources = {"pack": "", "pack.root": ROOT_CLASS, "heir": heir(imports, base)}
    short, _ = renamed(sources)
    assert load(short)["heir"].Heir().all() == ((1, 2), 10, 20)
    assert "_kept_here" not in short["pack.root"]


def test_two_heirs_of_one_class_both_keep_their_attributes_apart_from_its():
    one = heir("from root import Root", "Root")
    other = one.replace("kept", "left").replace("_also", "_again")
    sources = {"root": ROOT_CLASS, "heir": one, "other": other}
    for order in permutations(sources):
        short, _ = renamed({name: sources[name] for name in order})
        parts = load({name: short[name] for name in sources})
        assert parts["heir"].Heir().all() == parts["other"].Heir().all() == ((1, 2), 10, 20)


def test_who_only_uses_a_class_shares_short_names_with_it():
    user = (
        "from root import Root\nclass User:\n    def __init__(self):\n        self._root = Root()"
    )
    _, names = renamed({"root": ROOT_CLASS, "user": user})
    assert names["root"].keys() & names["user"].keys()


def test_a_short_name_that_several_modules_share_stands_for_one_thing_in_each():
    sources = {
        "one": "_x1 = 1\n_x3 = 3\n_x5 = 5\nfound = [_x1, _x3, _x5]",
        "two": "_x2 = 2\n_x4 = 4\nfound = [_x2, _x4]",
    }
    parts = load(renamed(sources)[0])
    assert (parts["one"].found, parts["two"].found) == ([1, 3, 5], [2, 4])


ELSEWHERE = """
class Elsewhere:
    def __init__(self):
        self._Box = self._thread = self._first = self._json = self._mpy_kept = 7
"""


@pytest.mark.parametrize(
    "source",
    [
        # a class, a module, or a parameter that bears the name of somebody's attribute
        "class _Box:\n    size = 4\nfound = _Box().size",
        "import _thread\nfound = _thread.get_ident() > 0",
        "import json as _json\nfound = _json.dumps([1])",
        "def f(*, _first=2):\n    return _first\nfound = f()",
        "def f(*_first):\n    return _first\nfound = f(1)",
        # what somebody else made
        "class Foreign:\n    pass\nforeign = Foreign()\nsetattr(foreign, '_m' + 'py', 1)\n"
        "found = foreign._mpy",
        # a short name that is looked for
        "class A:\n    def __init__(self):\n        self._a = 1\n        self._long_one = 2\n"
        "found = getattr(A(), '_a'), A()._long_one",
        # a private function, of both kinds, and what changes a variable from inside
        "async def _long_wait(seconds):\n    return seconds\n"
        "def f():\n    try:\n        _long_wait(3).send(None)\n"
        "    except StopIteration as end:\n        return end.value\nfound = f()",
        "_count = 0\ndef f():\n    global _count\n    _count += 1\nf()\nfound = _count",
        # a parameter whose name means something else further inside
        "def f(value):\n    def inner(value):\n        return value + 1\n"
        "    return inner(2 * value)\nfound = f(4)",
        "def f(value):\n    return (lambda value: value + 1)(2 * value)\nfound = f(4)",
        "def f(fault):\n    try:\n        raise ValueError(2)\n    except ValueError as fault:\n"
        "        return fault.args\nfound = f(1)",
        "def f(total):\n    def add():\n        nonlocal total\n        total += 1\n    add()\n"
        "    return total\nfound = f(1)",
        "def f(value):\n    def value():\n        return 2\n    return value()\nfound = f(1)",
        "def f(value):\n    class value:\n        x = 2\n    return value.x\nfound = f(1)",
        "def f(kind):\n    class A:\n        def kind(self):\n            return 2\n"
        "    return A().kind(), kind\nfound = f(1)",
        "def f(json):\n    import json\n    return json.dumps([1])\nfound = f(1)",
        # a parameter and an attribute of its name
        "class A:\n    def __init__(self, total):\n        self.total = total\nfound = A(3).total",
        # short names of parameters that are taken
        "def f(first, *, a=1):\n    return first\nfound = f(2)",
        "def f(first, *a):\n    return first\nfound = f(2, 3)",
        "def f(first, **a):\n    return first\nfound = f(2, x=3)",
        "def f(first, **rest):\n    return first, [*rest.values()]\nfound = f(1, a=2)",
        "def f(value):\n    return (lambda a: value)(2)\nfound = f(1)",
        "a = 5\ndef f(value):\n    return value + a\nfound = f(1)",
    ],
)
@pytest.mark.parametrize("image", [None, {"found", "get_ident", "dumps", "send", "args", "value"}])
def test_what_is_found_is_what_the_source_finds(source, image):
    sources = {"elsewhere": ELSEWHERE, "user": source}
    assert load(renamed(sources, image=image)[0])["user"].found == load(sources)["user"].found


def test_a_letter_for_a_parameter_is_not_taken_for_somebodys_public_name():
    sources = {
        "one": "def a():\n    return 1",
        "two": "_late = 5\ndef f(first):\n    return first + _late\nfound = f(1)",
    }
    assert load(renamed(sources, image={"found"})[0])["two"].found == 6


def test_private_functions_of_both_kinds_and_their_parameters_are_short():
    source = "async def _long_wait(seconds):\n    pass\ndef _long_name(seconds):\n    pass"
    (short, names) = renamed({"user": source})
    assert set(names["user"].values()) == {"_long_wait", "_long_name"}
    assert "long" not in short["user"]
    assert "seconds" not in short["user"]


def test_modules_that_know_nothing_of_each_other_share_short_names():
    _, names = renamed({"base": BASE, "apart": APART})
    assert names["base"].keys() & names["apart"].keys()


def test_what_is_looked_for_by_its_name_keeps_it():
    short, names = renamed({"apart": APART})
    apart = load(short)["apart"].Apart()
    assert apart.named("_named") == (3, 3, 4, 1)
    assert "_told" in names["apart"].values()
    assert "_named" not in names["apart"].values()


def test_what_a_source_beside_them_uses_keeps_its_name():
    _, names = renamed({"apart": APART}, ["import apart\nprint(apart.Apart()._told)"])
    assert "_told" not in names["apart"].values()


def test_a_parameter_that_a_source_beside_them_passes_by_name_keeps_it():
    assert "which" not in renamed({"apart": APART})[0]["apart"]
    short, _ = renamed({"apart": APART}, ["Apart().named(which='_told')"])
    assert load(short)["apart"].Apart().named(which="_told") == (4, 3, 4, 1)


def test_a_parameter_that_is_passed_by_name_keeps_it():
    short, _ = renamed({"base": BASE, "heir": HEIR})
    assert "second=2" in short["base"]
    assert "amount_of_it" not in short["base"]


SHOP = """
import json

limit = 7

class Refused(ValueError):
    pass

class Shop:
    open_days = 5

    def __init__(self, owner, *, door_width, **parts):
        self.owner_name = owner
        self.door_width = door_width
        for name, part in parts.items():
            setattr(self, name, part)

    def sell_one(self, thing):
        if thing.weight_g > limit:
            raise Refused(json.dumps(self.as_parts(thing)))
        return self.till.take_in(thing) + self.door_width + self.open_days

    def as_parts(self, thing):
        return {"owner": self.owner_name, "weight": thing.weight_g}

def opened(owner):
    return Shop(owner, door_width=2, till=Till())

class Till:
    def take_in(self, thing):
        return 100 * thing.weight_g + (thing.paid_twice or 0)
"""
CUSTOMER = """
from shop import Refused, opened
import shop as place

class Thing:
    def __init__(self, weight):
        self.weight_g = weight
        self.paid_twice = None

thing = Thing(3)
thing.paid_twice = 20
found = [opened("Maja").sell_one(thing), place.limit]
try:
    opened("Maja").sell_one(Thing(8))
except Refused as refusal:
    found += [type(refusal).__name__, str(refusal)]
"""
IMAGE = {"json", "dumps", "items", "open_days", "found"}
TOWN = {"shop": SHOP, "customer": CUSTOMER}


def test_public_names_get_short_and_everything_is_found_as_before():
    short, names = renamed(TOWN, image=IMAGE)
    assert load(short)["customer"].found == load(TOWN)["customer"].found
    known = set(names["shop"].values())
    assert {"sell_one", "take_in", "opened", "Shop", "limit", "door_width", "till"} <= known
    assert "sell_one" not in short["shop"] + short["customer"]


def test_what_the_image_calls_its_own_and_faults_and_what_is_in_texts_keep_their_names():
    names = renamed(TOWN, image=IMAGE)[1]
    assert not {"open_days", "dumps", "items", "Refused", "owner", "weight"} & set(
        names["shop"].values()
    )
    assert not renamed(TOWN)[1]["shop"], "without the image's names nothing public is ours"


def test_a_parameter_that_the_image_takes_by_the_name_of_one_of_ours_keeps_it():
    source = (
        "import json\ndef cut(*, separators):\n    return separators\n"
        "found = json.dumps([1, 2], separators=cut(separators=('+', ':')))"
    )
    short, names = renamed({"user": source}, image=IMAGE)
    assert load(short)["user"].found == "[1+2]"
    assert set(names["user"].values()) == {"cut"}


def test_what_somebody_else_sets_on_an_object_never_meets_a_name_of_its_own():
    source = "class C{0}:\n    def __init__(self):\n        self.own_{0} = {0}"
    sources = {f"m{n}": source.format(n) for n in range(9)}
    sources["outside"] = "".join(f"import m{n}\n" for n in range(9)) + (
        "found = []\n"
        "for thing in [" + ", ".join(f"m{n}.C{n}()" for n in range(9)) + "]:\n"
        "    thing.from_outside = 100\n"
        "    found.append(sorted(vars(thing).values()))\n"
    )
    short, names = renamed(sources, image={"append", "found"})
    assert load(short)["outside"].found == [[n, 100] for n in range(9)]
    assert "from_outside" in names["outside"].values()


def test_a_source_beside_the_renamed_ones_is_told_their_names():
    short, names = renamed(TOWN, image=IMAGE)
    asks = (
        "from shop import opened\nimport shop\n"
        "class Gift:\n    paid_twice = 1\n    def __init__(self, **v):\n"
        "        for name in v:\n            setattr(self, name, v[name])\n"
        "found = opened('Maja').sell_one(Gift(weight_g=2)), shop.limit\n"
    )
    parts = load(short | {"asking": translated(asks, names)})
    assert parts["asking"].found == (208, 7)


def test_nothing_that_the_image_or_a_library_offers_is_renamed(run_vm):
    """Asked of others than those who say what to rename: of the VM, and of the stand-ins."""
    ours = {name for module in firmware_names().values() for name in module.values()}
    public = {name for name in ours if name[0] != "_"}
    assert len(public) > 200
    asked = "\n".join(
        f"import {module}\nseen.update(dir({module}))"
        for module in ("socket", "select", "json", "struct", "time", "os", "io", "ssl", "hashlib")
    )
    kinds = "str, bytes, bytearray, list, dict, set, tuple, int, float, range, slice, object"
    things = "open(__file__), memoryview(b''), (x for x in ()), Exception('x'), sys, gc, dir"
    said = run_vm(
        f"import sys, gc, asyncio, asyncio.stream, asyncio.core\nseen = set()\n{asked}\n"
        f"for thing in ({kinds}, {things}, asyncio, asyncio.core, asyncio.stream.Stream,"
        " asyncio.stream.Server):\n    seen.update(dir(thing))\nprint(' '.join(seen))"
    )
    assert len(set(said.split())) > 250
    assert not public & set(said.split())
    offered = set()
    for source in sorted((ROOT / "sim" / "board").glob("[a-z]*.py")):
        if source.stem != "poweron":
            for node in ast.walk(ast.parse(source.read_text())):
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_":
                    offered.add(node.name)
                    if isinstance(node, ast.FunctionDef):
                        offered.update(arg.arg for arg in node.args.kwonlyargs)
    assert len(offered) > 90
    assert not public & offered


@pytest.mark.parametrize("place", ["base._b", 'File "base", line 1, in _b'])
def test_a_traceback_can_be_read(place):
    text = place.replace("_b", next(s for s, n in NAMES["base"].items() if n == "_sum"))
    assert explained(f"crashed: {text}, soon", NAMES) == f"crashed: {place[:-2]}_sum, soon"


def test_a_firmware_without_short_names_has_nothing_to_explain():
    text = "._a() of 1.5, in _b: x._c"
    assert explained(text, {}) == explained(text, NAMES) == text


NAMES = renamed({"base": BASE})[1]


NUMBERS = """
from micropython import const
FOUR = const(4)
SUM = const(2 * (3 + 4))
_HALF = const(2)
WHOLE = const(_HALF * 2)
LAST = 3
own = FOUR + _HALF
"""


@pytest.mark.parametrize(
    "source",
    [
        "import numbers_\nx = numbers_.FOUR + numbers_.LAST",
        "import numbers_ as n\nx = n.FOUR + n.SUM * 2",
        "from numbers_ import FOUR\nx = FOUR",
        "from numbers_ import FOUR as F, LAST as L\nx = F + L",
        "from pack import numbers_\nx = numbers_.FOUR",
        "from pack import numbers_ as n\nx = n.FOUR + n.LAST",
        "from numbers_ import WHOLE\nx = WHOLE",
        "import numbers_\nx = numbers_.own",
        "from numbers_ import LAST\nfrom elsewhere import FOUR\nx = FOUR",
    ],
)
def test_constants_of_another_module_become_numbers(source, monkeypatch):
    fake = types.SimpleNamespace(const=int)
    monkeypatch.setitem(sys.modules, "micropython", fake)
    sources = {"numbers_": NUMBERS, "elsewhere": "FOUR = 'another'", "pack": "", "user": source}
    if "pack" in source:
        sources |= {"pack.numbers_": NUMBERS, "user": sources.pop("user")}
    out = inlined(sources)
    assert load(out)["user"].x == load(sources)["user"].x
    if "elsewhere" not in source:
        assert "FOUR" not in out["numbers_"] + out["user"]
    assert "_HALF" in out["numbers_"]
