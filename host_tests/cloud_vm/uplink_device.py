"""Runs in the MicroPython VM: the uplink's thread with a meter of one measurement a second.

argv[1]: JSON {"host", "port", "tls", "hosts", "ca", "speed", "clock", "period_ms", "backlog",
"interval_s"};
time runs `speed` times as fast, so that a deadline of 8 s takes one. Prints a line of JSON for
every change of state; takes lines of JSON on stdin: {"link": "lan"|null, "ip", "provider",
"info", "carried_ma", "home_assistant", "records", "stop", "end"}; "end": "collected" ends the
thread first.
"""

import _thread
import gc
import json
import select
import sys
import time as real

import desk
from expect import Part

from cloud import records
from cloud.backlog import Backlog
from cloud.commands import Commands
from cloud.live_queue import LiveQueue
from cloud.uplink import Uplink
from device.log import Log
from device.settings import Settings

config = json.loads(sys.argv[1])
speed = config.get("speed", 1)
start_ms = real.ticks_ms()


class FastTime:
    def ticks_ms(self):
        return (real.ticks_diff(real.ticks_ms(), start_ms) * speed) & 0x3FFFFFFF

    def ticks_diff(self, end, start):
        return ((end - start + 0x20000000) & 0x3FFFFFFF) - 0x20000000

    def ticks_add(self, ticks, delta):
        return (ticks + delta) & 0x3FFFFFFF

    def sleep_ms(self, ms):
        real.sleep_us(ms * 1000 // speed)


class WallClock:
    is_set = config.get("clock", True)
    problem = "nobody answers"
    asked = 0

    def unix_ms(self):
        return 1767225600000 + time.ticks_ms() if self.is_set else None

    def due(self):
        return not self.is_set

    def resolve(self, nearest):
        pass

    def sync(self):
        self.asked += 1
        return self.is_set


def tell(**what):
    what["t"] = time.ticks_ms()
    print(json.dumps(what))


time = FastTime()
Log.kept = 4  # its filling up shall not look like growth
desk.hosts.update(config.get("hosts", {}))
desk.redirect.update(config.get("redirect", {}))
link = Part(interface=config.get("link", "wifi"), ip="192.168.1.57")
settings = Part(
    provider={name: config[name] for name in ("host", "port", "tls")},
    interval_s=config.get("interval_s", 1),
    home_assistant=False,
    step_a=2,
    supply_max_a=25,
)
info = {"serial": "AG100042317G", "variant": "home", "range": 100, "phases": 3, "rssi": -60}
info.update({"firmware": "0.1.0", "image": "desk", "link": "wifi", "boot_count": 1})
queue = LiveQueue(8)
uplink = Uplink(
    queue=queue,
    identity=Part(serial="AG100042317G", pin="K7M3XQ9A"),
    settings=settings,
    clock=WallClock(),
    link=link,
    info=lambda: dict(info),
    socket=desk,
    ssl=desk.tls(),
    time=time,
    log=Log(time, lambda line: None),
    ca_path=config.get("ca", "/nowhere"),
    backlog=Backlog(config["backlog"]) if "backlog" in config else None,
)


commands = Commands(
    Settings("settings", {"phases": 3}),
    Log(time, lambda line: None),
    {"report": uplink.report, "restart": lambda: uplink.stop("restart") or {}},
)


plant = Part(carried_ma=16012)


def measurement(seq):
    return Part(
        seq=seq,
        ts_ms=time.ticks_ms() + 1767225600000,
        i_ma=[plant.carried_ma, 10000, 5998],
        u_mv=[230104, 229871, 230422],
        p_mw=[3684220, 2299630, 1382071],
        q_mvar=[12110, -8402, 3009],
        pf_milli=[1000, 1000, 1000],
        f_mhz=50012,
        cov_permille=1000,
        flags=[],
    )


def obey(order):
    if "link" in order:
        link.interface = order["link"]
    if "home_assistant" in order:
        settings.home_assistant = order["home_assistant"]
    if "carried_ma" in order:
        plant.carried_ma = order["carried_ma"]
    if "ip" in order:
        link.ip = order["ip"]
    if "provider" in order:
        settings.provider = order["provider"]
    if "info" in order:
        info.update(order["info"])
    if "hosts" in order:
        desk.hosts.clear()
        desk.hosts.update(order["hosts"])
    for n in order.get("records", []):
        event = {"v": 1, "seq": n, "ts": None, "kind": "test", "words": "a test"}
        uplink.record(*records.event(json.dumps(event)))
    if "stop" in order:
        uplink.stop(order["stop"])


def run():
    # A function: the VM has no interpreter lock, so no global may appear while the thread runs.
    state = None
    seq = 0
    stalest_ms = 0
    orders = select.poll()
    orders.register(sys.stdin, select.POLLIN)
    next_ms = time.ticks_ms()
    _thread.stack_size(128 * 1024)
    _thread.start_new_thread(uplink.run, ())
    while True:
        if state != uplink.state:
            state = uplink.state
            tell(state=state)
        if time.ticks_diff(time.ticks_ms(), next_ms) >= 0:
            next_ms = time.ticks_add(next_ms, config.get("period_ms", 1000))
            queue.put(measurement(seq))
            seq += 1
        stalest_ms = max(stalest_ms, time.ticks_diff(time.ticks_ms(), uplink.alive_ms))
        asked = None if uplink.answering else uplink.commands.take()
        if asked is not None:
            uplink.respond(commands.answer(*asked))
        if orders.poll(0):
            order = json.loads(sys.stdin.readline() or '{"end": true}')
            if "end" in order:
                break
            obey(order)
        real.sleep_ms(2)
    if order["end"] == "collected":
        uplink.stop("restart")
        while uplink.state != "off":
            real.sleep_ms(2)
    gc.collect()
    tell(
        end=True,
        made=seq,
        published=uplink.published,
        dropped=queue.dropped,
        waiting=len(queue),
        connections=uplink.connections,
        stalest_ms=stalest_ms,
        crash=repr(uplink.crash) if uplink.crash else None,
        heap=gc.mem_alloc(),
    )


run()
