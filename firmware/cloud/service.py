"""Sees that every command is answered. They are rare: the code that reads and obeys them is loaded
for one command, and let go of after it.

In: the uplink's `commands`; `parts`, see actions.py. Out: the uplink's `respond`.
"""

import asyncio
import gc
import sys

from device.unloading import room, unload

_LOOK_S = 0.1
_ACTIONS = 9_000 if sys.maxsize >> 32 else 6_000  # bytes that obeying takes at least
_LOADED = (
    "cloud.actions",
    "cloud.begin_update",
    "cloud.capture",
    "cloud.commands",
    "cloud.log_pieces",
    "cloud.strict_json",
    "cloud.trial",
    "device.log_lines",
    "device.slots",
)


async def run(uplink, alive, **parts):
    """The task. A command that goes on for a while (capture, log, restart) is awaited; `alive` is
    called between two."""
    news = getattr(__import__("__main__"), "news", None)  # boot.py's
    if news:
        from cloud import trial  # noqa: PLC0415 (after an update)

        asyncio.create_task(trial.judge(news, uplink, parts))
        trial = None  # type: ignore[assignment]
        unload(*_LOADED)
    answered = []  # type: ignore[var-annotated]
    while True:
        asked = None if uplink.answering else uplink.commands.take()
        if asked is not None:
            try:
                room(_ACTIONS)
                from cloud import actions  # noqa: PLC0415 (see above)

                more = actions.answer(asked, answered, uplink, parts)
                if more is not None:
                    await more
            except MemoryError:
                uplink.respond(
                    '{"v":1,"id":null,"ok":false,"error":"not enough memory at the moment"}'
                )
            asked = more = actions = None  # type: ignore[assignment]
            unload(*_LOADED)
            gc.collect()
        alive()
        await asyncio.sleep(_LOOK_S)
