"""What the firmware imports as `micropython` when it runs on CPython."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

for _name in ("ptr8", "ptr16", "ptr32", "uint"):
    setattr(builtins, _name, int)


def const(value: Any) -> Any:
    return value


def native(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def viper(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
