"""Begins an update once the code that read the command is gone: there is no room for both."""

import asyncio
import gc
import json

from micropython import const

from device.unloading import unload

_GONE_S = 0.3
_BUFFER = const(1024)
_TO_READ = ("cloud.update_request", "cloud.update_key")
_TO_UPDATE = ("cloud.update", "cloud.download", "cloud.refused")


async def begin(name, arguments, uplink, parts):
    """The task. Answers the command `name` if the update can't even begin; else cloud.update does,
    and this code is garbage."""
    await asyncio.sleep(_GONE_S)
    gc.collect()
    words = "not enough memory at the moment"
    view = None
    try:
        if uplink.job is not None:
            raise ValueError("an update is under way")
        view = memoryview(bytearray(_BUFFER))  # while there is a gap of that size
        from cloud import update_request as request  # noqa: PLC0415 (see above)

        asked = request.read(arguments)
        request = None  # type: ignore[assignment]
        unload(*_TO_READ)
        from cloud import update  # noqa: PLC0415

        update.start(name, asked, uplink, parts, view)
        return
    except ValueError as fault:
        words = str(fault)
    except MemoryError:
        pass
    update = request = view = None  # type: ignore[assignment]
    if uplink.job is None:  # else another one is under way, and in need of them
        unload(*_TO_READ, *_TO_UPDATE)
    uplink.respond('{"v":1,"id":%s,"ok":false,"error":%s}' % (json.dumps(name), json.dumps(words)))
