# What ties the stand-ins to the host: configuration in, events out, and the end of the power.
# In: the JSON file named by AMPGUARD_BOARD. Out: one JSON line per event on an inherited pipe.
import json

import micropython
import uos
import utime
import vfs

# Without a root of its own: VfsPosix joins root and path in a buffer that its rename (until 1.28)
# uses twice, and that two threads would share.
HOST = vfs.VfsPosix()


def _read_config():
    path = uos.getenv("AMPGUARD_BOARD")
    if not path:
        return {}
    with HOST.open(path, "r") as f:
        return json.load(f)


config = _read_config()
_events = HOST.open("/dev/fd/%d" % config["events"], "wb") if "events" in config else None


def emit(**event):
    write(json.dumps(event) + "\n")


def write(line):
    # One write, shorter than PIPE_BUF: lines of two threads never mix.
    if _events:
        _events.write(line)


@micropython.viper
def power_off():
    # The VM ends here and now, whichever thread asks: nothing after this line happens, no
    # buffer is flushed, no `finally` runs. A write to address 0 is the only such way out.
    p = ptr32(0)  # noqa: F821
    p[0] = 1


def reset(cause):
    emit(ev="reset", cause=cause)
    power_off()
    while True:
        utime.sleep_ms(1000)
