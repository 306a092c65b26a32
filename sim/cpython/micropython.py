"""What the firmware imports as `micropython` when it runs on CPython.

viper functions run with the ESP32's 32-bit words (viper32.py).
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from sim.cpython.viper32 import viper

__all__ = ["const", "native", "viper"]

# Annotations are evaluated here, on the board they are not: the names must exist.
for _name in ("uint", "ptr", "ptr8", "ptr16", "ptr32"):
    setattr(builtins, _name, int)


def const(value: Any) -> Any:
    return value


def native(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
