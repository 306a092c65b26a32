"""The whole log as responses small enough for the heap: docs/protocol.md, `log` with "all"."""

import asyncio
import json

from micropython import const

from device import log_lines

_PIECE = const(768)  # characters of a response
_PACE_S = 0.05
_PATIENCE_MS = const(20_000)  # for a response to leave


async def run(name, uplink, log, time):
    """Sends the pieces 1, 2 ... under the id `name`. Gives up where nobody takes them."""
    number = 0
    held = None
    for piece in log_lines.pieces(log, _PIECE):
        if held is not None:
            number += 1
            if not await _room(uplink, time):
                return
            uplink.respond(_response(name, number, "true", held))
        held = piece
    if await _room(uplink, time):
        uplink.respond(_response(name, number + 1, "false", held or b""))


async def _room(uplink, time):
    """Waits until the response before has left. Returns whether it has."""
    started = time.ticks_ms()
    await asyncio.sleep(_PACE_S)
    while uplink.answering:
        if time.ticks_diff(time.ticks_ms(), started) > _PATIENCE_MS:
            return False
        await asyncio.sleep(_PACE_S)
    return True


def _response(name, number, more, data):
    return '{"v":1,"id":%s,"ok":true,"result":{"piece":%d,"more":%s,"text":%s}}' % (
        json.dumps(name),
        number,
        more,
        json.dumps(log_lines.text(data)),
    )
