"""A new firmware judges itself: if it measures, has joined and reaches the broker within five
minutes, it stays; else the one before it comes back. Loaded after an update only.

In: what boot.py found in /slot, see device/slots.py. Out: an `event`, and /slot.
"""

import asyncio

from micropython import const
from version import VERSION

from device import slots

_LIMIT_MS = const(300_000)
_MEASUREMENTS = const(5)  # at the broker
_LOOK_S = 1


async def judge(news, uplink, parts):
    """The task. `news`: {"back": ...} on trial, {"why": ...} to be told."""
    events = parts["events"]
    time = parts["time"]
    if "why" in news:
        events.say(
            "update_failed",
            "%s is taken back, %s runs again: %s" % (news["failed"], VERSION, news["why"]),
        )
        slots.settle()
        return
    before = slots.version(news["back"])
    started = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), started) < _LIMIT_MS:
        if uplink.state == "online" and uplink.published >= _MEASUREMENTS:
            slots.settle()
            events.say("update", "%s runs, measures and reaches the broker; it was %s before"
                       % (VERSION, before))  # fmt: skip
            parts["log"].info("update", VERSION + " is confirmed")
            return
        await asyncio.sleep(_LOOK_S)
    parts["log"].error("update", VERSION + " did not reach the broker in time")
    slots.roll_back(news, "it did not reach the broker within five minutes: " + uplink.state)
    parts["restart"]()
