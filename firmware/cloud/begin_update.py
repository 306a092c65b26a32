"""Begins an update once the code that read the command is gone: there is no room for both."""

import asyncio
import gc
import json

from micropython import const
from version import VERSION

from device.unloading import unload

_GONE_S = 0.3
_LOOKS = const(30)  # _GONE_S apart, for a connection to be gone
_BUFFER = const(1024)
_SHORT = "not enough memory at the moment"
_TO_READ = ("cloud.update_request", "cloud.update_key")
_TO_UPDATE = ("cloud.update", "cloud.download", "cloud.refused")


async def begin(name, arguments, uplink, parts):
    """The task. Answers the command `name` if the update can't even begin; else cloud.update does,
    and this code is garbage. Where a connection leaves no room for it the device hangs up, and
    restarts whatever comes of it: so does cloud.update."""
    await asyncio.sleep(_GONE_S)
    words = _begun(name, arguments, uplink, parts)
    if words is None:
        return
    if words is not _SHORT:
        uplink.respond(
            '{"v":1,"id":%s,"ok":false,"error":%s}' % (json.dumps(name), json.dumps(words))
        )
        return
    uplink.respond(
        '{"v":1,"id":%s,"ok":true,"result":{"running":"%s","hangs_up":true}}'
        % (json.dumps(name), VERSION)
    )
    uplink.alone = True
    for _ in range(_LOOKS):
        if uplink.state == "off":
            break
        await asyncio.sleep(_GONE_S)
    words = _begun(name, arguments, uplink, parts)
    if words:
        parts["events"].say("update_failed", words)
        uplink.stop("restart")
        for _ in range(_LOOKS):
            if uplink.stopped:
                break
            await asyncio.sleep(_GONE_S)
        parts["restart"]()


def _begun(name, arguments, uplink, parts):
    """Returns None, or in words why it has not."""
    if uplink.job is not None:
        return "an update is under way"
    gc.collect()
    view = None
    try:
        view = memoryview(bytearray(_BUFFER))  # while there is a gap of that size
        from cloud import update_request as request  # noqa: PLC0415 (see above)

        asked = request.read(arguments)
        request = None  # type: ignore[assignment]
        unload(*_TO_READ)
        from cloud import update  # noqa: PLC0415

        update.start(name, asked, uplink, parts, view)
        return None
    except ValueError as fault:
        words = str(fault)
    except MemoryError:
        words = _SHORT
    update = request = view = None  # type: ignore[assignment]
    unload(*_TO_READ, *_TO_UPDATE)
    return words
