"""What provisioning costs of the board's heap, and that it gives it back."""

from __future__ import annotations

import json
from collections.abc import Callable

LIFE = """
import gc, json
gc.threshold(4096)
import asyncio, socket, sys, time
import cloud.protocol
asyncio.sleep(0)

def used():
    gc.collect()
    return gc.mem_alloc()

from provisioning import portal
print(json.dumps([used(), 8 if sys.maxsize >> 32 else 4]))
for _ in range(3):
    from provisioning import dns, routes, web
    import microdot
    up = used()
    del dns, routes, web, microdot
    portal.unload(*portal._TO_LISTEN + portal._TO_ANSWER)
    print(json.dumps([used(), up]))
left = [name for name in sys.modules if name in portal._TO_LISTEN + portal._TO_ANSWER]
assert not left, left
"""


def test_a_closed_access_point_leaves_nothing_of_the_portal_behind(
    run_vm: Callable[..., str],
) -> None:
    lines = [json.loads(line) for line in run_vm(LIFE).splitlines()]
    before, word = lines[0]
    (once, up), *again = lines[1:]
    assert up - before < 30_000 * word / 4, "the portal, Microdot included"
    # Names stay interned for ever, but only once.
    assert once - before < 10_000 * word / 4
    assert all(abs(after - once) < 1_000 for after, _ in again)
