"""Which task has the turn and does not give it back: what the watchdog is about to end, in a line
for the next run. Loaded by the uplink's thread when that has lasted for a while.

In: the supervisor's beats, (name, Beat), the seconds since the start. Out: the line; it begins
with "hung: ", by which last_run.py knows it, and counts only if the watchdog came.
"""

import asyncio


def words(beats, uptime_s, silent_ms):
    task = asyncio.core.cur_task  # type: ignore[attr-defined]
    found = "nobody"
    if task is not None:
        found = str(task.coro)  # <generator object 'answer' at ...>
        found = found.split("'")[1] if "'" in found else found
        for name, beat in beats:
            if beat.task is task:
                found = name
    return "hung: after %d s %s had held up all others for %d s" % (
        uptime_s,
        found,
        silent_ms // 1000,
    )
