"""Memory as viper's ptr8, ptr16 and ptr32 see it, with the bounds the board does not check.

Loads of 8 and 16 bits are unsigned. ptr32 loads a machine word on a 32-bit machine; on a 64-bit
one it is zero-extended (py/asmx64.h: ASM_LOAD32_REG_REG), so negative values read back positive
there. Stores keep the low bits.
"""

from __future__ import annotations

from typing import Any

POINTERS = {"ptr8": "B", "ptr16": "H", "ptr32": "I"}


class Pointer:
    """A bounded, typed view of a buffer: `ptr16(buffer)`."""

    __slots__ = ("buffer", "kind", "load", "mask", "size", "store", "view")

    def __init__(self, target: Any, kind: str, word: int) -> None:
        """TypeError for what has no buffer: the board would take a number for an address."""
        self.buffer: Any = target.buffer if isinstance(target, Pointer) else target
        view: Any = memoryview(self.buffer).cast("B")
        code = "i" if kind == "ptr32" and word == 32 else POINTERS.get(kind, "B")
        width = {"B": 1, "H": 2, "I": 4, "i": 4}[code]
        self.view: Any = view[: len(view) // width * width].cast(code)
        self.kind = kind
        self.size = len(self.view)
        self.mask = (1 << 8 * width) - 1
        self.load = self._load
        self.store = self._store_signed if code == "i" else self._store

    def _load(self, index: int) -> int:
        if not 0 <= index < self.size:
            raise IndexError(f"{self.kind}[{index}]: only 0..{self.size - 1} is yours")
        return int(self.view[index])

    def _store(self, index: int, value: int) -> None:
        if not 0 <= index < self.size:
            raise IndexError(f"{self.kind}[{index}]: only 0..{self.size - 1} is yours")
        self.view[index] = value & self.mask

    def _store_signed(self, index: int, value: int) -> None:
        if not 0 <= index < self.size:
            raise IndexError(f"{self.kind}[{index}]: only 0..{self.size - 1} is yours")
        self.view[index] = (value + 0x80000000 & 0xFFFFFFFF) - 0x80000000
