"""What a command makes the device do. Loaded for one command by service.py.

`parts`: settings, log, meter, clock, time, identity, calibration; phases (those the meter runs
with), events, identify(seconds), restart().
"""

import asyncio

from micropython import const

from cloud.commands import Commands

_GOODBYE_MS = const(5000)  # for the thread to end its connection; a DNS query may take longer
_POLL_S = 0.02


def answer(asked, answered, uplink, parts):
    """Answers `asked`, (payload, retained). Returns what is still to be awaited, or None."""
    settings = parts["settings"]
    more = []

    def applied():
        return {} if settings.phases == parts["phases"] else {"restart_needed": True}

    def identify(seconds=10):
        parts["identify"](seconds)
        return {"seconds": seconds}

    def capture():
        from cloud import capture  # noqa: PLC0415 (it is large, and rarer still)

        more.append(capture.run(commands.obeyed, uplink, **parts))
        return {"piece": 0, "more": True, "dat": ""}

    def log(lines=0):
        from cloud import log_pieces  # noqa: PLC0415

        more.append(log_pieces.run(commands.obeyed, uplink, parts["log"], parts["time"]))
        return {"piece": 0, "more": True, "text": ""}

    def restart():
        more.append(leave(uplink, parts))
        return {}

    def update(**arguments):
        from cloud.begin_update import begin  # noqa: PLC0415

        asyncio.create_task(begin(commands.obeyed, arguments, uplink, parts))

    actions = {
        "report": uplink.report,
        "applied": applied,
        "identify": identify,
        "capture": capture,
        "log": log,
        "restart": restart,
        "update": update,
    }
    commands = Commands(settings, parts["log"], actions, answered)
    payload = commands.answer(*asked)
    if payload is not None:
        uplink.respond(payload)
    return more[0] if more else None


async def leave(uplink, parts):
    """Says goodbye, if that does not take long, and restarts."""
    time = parts["time"]
    uplink.stop("restart")  # the answer goes out before the goodbye
    started = time.ticks_ms()
    while not uplink.stopped and time.ticks_diff(time.ticks_ms(), started) < _GOODBYE_MS:
        await asyncio.sleep(_POLL_S)
    parts["restart"]()
