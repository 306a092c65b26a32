"""Begins an update once the code that read the command is gone: there is no room for both."""

import asyncio
import gc
import json

from micropython import const

from device.unloading import unload

_GONE_S = 0.3
_BUFFER = const(2048)
# Not before the end: its parts import each other.
_LOADED = (
    "cloud.update",
    "cloud.install",
    "cloud.bundle_check",
    "cloud.download",
    "cloud.http_head",
    "cloud.signature",
    "device.slots",
)


async def begin(name, arguments, uplink, parts):
    """The task. Answers the command `name` if the update can't even begin."""
    await asyncio.sleep(_GONE_S)
    gc.collect()
    task = None
    words = "not enough memory at the moment"
    view = None
    try:
        view = memoryview(bytearray(_BUFFER))  # while there is a gap of that size
        from cloud import update  # noqa: PLC0415 (see above)

        task = update.start(name, arguments, uplink, parts, view)
    except ValueError as fault:
        words = str(fault)
    except MemoryError:
        pass
    update = view = None  # type: ignore[assignment]
    if task is not None:
        await task
    if uplink.job is None:  # else another one is under way, and in need of them
        unload(*_LOADED)
    if task is None:
        uplink.respond(
            '{"v":1,"id":%s,"ok":false,"error":%s}' % (json.dumps(name), json.dumps(words))
        )
