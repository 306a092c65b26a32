"""Sees that every command is answered. They are rare: the code that reads and obeys them is loaded
for one command, and let go of after it.

In: the uplink's `commands`; `parts`, see actions.py. Out: the uplink's `respond`.
"""

import asyncio
import gc
import sys

_LOOK_S = 0.1
_LOADED = ("actions", "capture", "commands")


async def run(uplink, **parts):
    """The task. A command that goes on for a while (capture, restart) is awaited."""
    answered = []  # type: ignore[var-annotated]
    while True:
        asked = None if uplink.answering else uplink.commands.take()
        if asked is not None:
            try:
                gc.collect()  # or the code would fill the last large gaps
                from cloud import actions  # noqa: PLC0415 (see above)

                more = actions.answer(asked, answered, uplink, parts)
                if more is not None:
                    await more
            except MemoryError:
                uplink.respond(
                    '{"v":1,"id":null,"ok":false,"error":"not enough memory at the moment"}'
                )
            asked = more = actions = None  # type: ignore[assignment]
            _unload()
        await asyncio.sleep(_LOOK_S)


def _unload():
    package = sys.modules["cloud"]
    for name in _LOADED:
        if sys.modules.pop("cloud." + name, None) and hasattr(package, name):
            delattr(package, name)
    gc.collect()
