"""Memory as viper's ptr8, ptr16 and ptr32 see it, with the bounds the board does not check.

Loads of 8 and 16 bits are unsigned. ptr32 loads a machine word on a 32-bit machine; on a 64-bit
one it is zero-extended (py/asmx64.h: ASM_LOAD32_REG_REG), so negative values read back positive
there. Stores keep the low bits.
"""

from __future__ import annotations

from array import array
from typing import Any

POINTERS = {"ptr8": "B", "ptr16": "H", "ptr32": "I"}


class Pointer:
    """A bounded, typed view of a buffer: `ptr16(buffer)`."""

    __slots__ = ("buffer", "kind", "load", "mask", "size", "store", "view")

    def __init__(self, target: Any, kind: str, word: int) -> None:
        """TypeError for what has no buffer: the board would take a number for an address.

        A target with `load(index)` and `store(index, value)` stands for registers that do
        something when they are touched.
        """
        self.view: Any
        self.buffer: Any
        if hasattr(target, "load") and not isinstance(target, Pointer):
            self.buffer, self.kind, self.mask = target, kind, 0xFFFFFFFF
            self.load, self.store = target.load, target.store
            self.view = _Registers(target)
            return
        self.buffer = target.buffer if isinstance(target, Pointer) else target
        code = "i" if kind == "ptr32" and word == 32 else POINTERS.get(kind, "B")
        width = {"B": 1, "H": 2, "I": 4, "i": 4}[code]
        if isinstance(self.buffer, array) and self.buffer.typecode == code:
            self.view = self.buffer  # the same words, read in half the time
        else:
            view: Any = memoryview(self.buffer).cast("B")
            self.view = view[: len(view) // width * width].cast(code)
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


class _Registers:
    """What compiled functions index where they would index memory."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getitem__(self, index: int) -> int:
        value = int(self._target.load(index))
        return (value + 0x80000000 & 0xFFFFFFFF) - 0x80000000

    def __setitem__(self, index: int, value: int) -> None:
        self._target.store(index, value)
