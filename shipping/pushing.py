"""A bundle onto a board over its REPL: the board's own firmware/cloud/install.py takes it, with
all its checks, and says piece by piece what it wants.
"""

from __future__ import annotations

import ast
import base64
from collections.abc import Callable

from shipping.board import Board, Failed, Refused

_BUFFER = 2048

# `go(count)` runs until bytes are wanted: (offset, size); or None at the end; or what was refused;
# or, since a board should be heard of every few seconds, 0 when there is more to do.
_PREPARE = f"""
import json
from version import VERSION
from cloud import install
v = memoryview(bytearray({_BUFFER}))
with open('/factory.json') as f:
 variant = json.load(f)['variant']
j = []
w = install.install(v, install.about(variant), VERSION, DOWNGRADE, lambda *x: j.append(x))
def go(n):
 try:
  r = w.send(n)
  k = 32
  while r is None and k:
   r = w.send(None)
   k -= 1
  r = r or 0
 except StopIteration:
  r = None
 except install.Running:
  r = 'running'
 except (install.Refused, OSError) as e:
  r = 'flash is full' if getattr(e, 'errno', 0) == 28 else str(e)
 print(repr((r, bool(j))))
def put(d):
 v[:len(d)] = d
 go(len(d))
"""


def push(board: Board, data: bytes, downgrade: bool, told: Callable[[int], None]) -> bool:
    """Installs `data`; the new firmware is on trial from the next boot on. `told(offset)` after
    each piece. False if that version runs already; Refused and Failed with the board's reason."""
    board.run(_PREPARE.replace("DOWNGRADE", repr(downgrade)))
    answer = board.run("go(None)\n")
    while True:
        wanted, begun = ast.literal_eval(answer.decode())
        if wanted is None:
            return True
        if wanted == "running":
            return False
        if isinstance(wanted, str):
            raise (Failed if begun else Refused)(f"{board.port}: {wanted}")
        if wanted == 0:
            answer = board.run("go(None)\n")
            continue
        offset, size = wanted
        told(offset)
        piece = data[offset : offset + size]
        if not piece:
            raise Failed(f"{board.port}: the bundle ends at byte {offset}")
        answer = board.run(f"put(a({base64.b64encode(piece)!r}))\n")
