"""What a command makes the device do. Loaded for one command by service.py.

`parts`: settings, log, meter, clock, time, identity, calibration; phases (those the meter runs
with), identify(seconds), restart().
"""

import asyncio

from cloud.commands import Commands

_GOODBYE_MS = 5000  # for the thread to end its connection; it may sit in a DNS query for longer
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

    def restart():
        more.append(_restart(uplink, parts))
        return {}

    actions = {
        "report": uplink.report,
        "applied": applied,
        "identify": identify,
        "capture": capture,
        "restart": restart,
    }
    commands = Commands(settings, parts["log"], actions, answered)
    uplink.respond(commands.answer(*asked))
    return more[0] if more else None


async def _restart(uplink, parts):
    time = parts["time"]
    uplink.stop("restart")  # the answer goes out before the goodbye
    started = time.ticks_ms()
    while uplink.state != "off" and time.ticks_diff(time.ticks_ms(), started) < _GOODBYE_MS:
        await asyncio.sleep(_POLL_S)
    parts["restart"]()
