# Runs in the MicroPython VM on the board's flash: what boot.py does, and what an update does, with
# the bundle from a file of the host. One line of JSON on stdout says how it went.
# In: AMPGUARD_TASK, JSON: {"do": ["boot", "install", "settle"], "bundle": path, ...}.
import builtins
import json
import os  # noqa: F401 (the board's, while its folder is on the path)
import sys

import _flash
import uos
from _board import HOST

task = json.loads(uos.getenv("AMPGUARD_TASK"))
flash = _flash.mount()
told = {"fetched": 0}
any_list = list
root = 1  # boot.py's


def boot():
    sys.path[:] = ["", ".frozen", "/lib"]
    for name in list(sys.modules):
        if name.startswith(("device", "cloud", "slots")):
            del sys.modules[name]
    import slots

    told["news"] = slots.start()
    told["run"] = slots.running()
    del sys.modules["slots"]


def install():
    from cloud import install as room
    from device import slots

    have = list(room.about(task.get("variant", "home")))
    for place, value in task.get("have", {}).items():
        have[int(place)] = value
    builtins.list = fits
    view = memoryview(bytearray(512))
    version = slots.version(slots.running())
    work = room.install(view, have, version, task.get("downgrade", False), judged)
    with HOST.open(task["bundle"], "rb") as bundle:
        try:
            count = None
            while True:
                wanted = work.send(count)
                count = None
                if wanted is not None:
                    bundle.seek(wanted[0])
                    count = bundle.readinto(view[: wanted[1]])
                    told["fetched"] += count
                    if not count:
                        raise room.Refused("the bundle ends")
        except StopIteration:
            pass
        except (room.Refused, OSError) as reason:
            told["refused"] = str(reason)
        finally:
            work.close()


def fits(items):
    """On a board 23 kB are free when an update begins."""
    found = any_list(items)
    if len(found) > 50:
        raise MemoryError("so many items at a time")
    return found


def judged(version, size):
    told["judged"] = [version, size]


def settle():
    from device import slots

    slots.settle()


for do in task["do"]:
    {"boot": boot, "install": install, "settle": settle}[do]()
told["changes"] = flash.changes
print(json.dumps(told))
