"""Runs in the MicroPython VM: the uplink's thread with a meter of one measurement a second.

argv[1]: JSON {"host", "port", "tls", "hosts", "ca", "speed", "clock", "servers", "period_ms",
"backlog", "interval_s", "energy_s": seconds between energy records};
time runs `speed` times as fast, so that a deadline of 8 s takes one, and stands still while a busy
host lets this process wait. Prints a line of JSON for
every change of state; takes lines of JSON on stdin: {"link": "lan"|null, "ip", "provider",
"trial": a provider to be tried, "info", "carried_ma", "interval_s", "home_assistant", "records",
"heap", "hunger", "stop", "end"};
"hunger": {"live": how many measurements find no memory, "will": how many calls, "torn": how many
messages whose first part has left}; "end": "collected" ends the thread first.
"""

import _thread
import gc
import json
import select
import sys
import time as real

import desk
from expect import Part

from cloud import mqtt, protocol, records, wire
from cloud.backlog import Backlog
from cloud.commands import Commands
from cloud.live_queue import LiveQueue
from cloud.uplink import Uplink
from device.log import Log
from device.settings import Settings

config = json.loads(sys.argv[1])
speed = config.get("speed", 1)
start_ms = real.ticks_ms()
stalled_ms = [0]


class FastTime:
    def ticks_ms(self):
        return ((real.ticks_diff(real.ticks_ms(), start_ms) - stalled_ms[0]) * speed) & 0x3FFFFFFF

    def ticks_diff(self, end, start):
        return ((end - start + 0x20000000) & 0x3FFFFFFF) - 0x20000000

    def ticks_add(self, ticks, delta):
        return (ticks + delta) & 0x3FFFFFFF

    def sleep_ms(self, ms):
        real.sleep_us(ms * 1000 // speed)


class WallClock:
    is_set = config.get("clock", True)
    knows_servers = config.get("servers", True)
    resolved: list = []  # noqa: RUF012 (there is one)
    problem = "nobody answers"
    asked = 0

    def unix_ms(self):
        return 1767225600000 + time.ticks_ms() if self.is_set else None

    def again(self):
        pass

    def due(self):
        return not (self.is_set and self.knows_servers)

    def resolve(self, nearest):
        self.resolved.append(nearest)
        self.knows_servers = True

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
backlog = Backlog(config["backlog"]) if "backlog" in config else None
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
    log=Log(time, write=lambda line: None),
    ca_path=config.get("ca", "/nowhere"),
    backlog=backlog,
)


commands = Commands(
    Settings("settings", {"phases": 3}),
    Log(time, write=lambda line: None),
    {"report": uplink.report, "restart": lambda: uplink.stop("restart") or {}},
)


plant = Part(carried_ma=16012)
hunger = {"live": 0, "will": 0, "torn": 0, "info": 0}


def hungry(what, function, when=lambda *_: True):
    def call(*arguments):
        if hunger[what] and when(*arguments):
            hunger[what] -= 1
            raise MemoryError
        return function(*arguments)

    return call


buffers = []  # of the clients, each once
mqtt_init = mqtt.SafeClient.__init__


def noted(client, *arguments, **options):
    mqtt_init(client, *arguments, **options)
    if not [True for buffer in buffers if buffer is client._received]:
        buffers.append(client._received)


mqtt.SafeClient.__init__ = noted
protocol.measurement_payload = hungry("live", protocol.measurement_payload)
protocol.info_payload = hungry("info", protocol.info_payload)
protocol.last_will_payload = hungry("will", protocol.last_will_payload)
wire.Wire.write = hungry("torn", wire.Wire.write, lambda wire, *_: wire._torn)


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


def energy_record(seq):
    return Part(
        seq=seq,
        from_s=1767225600,
        to_s=1767225660,
        imp_wh=[seq, seq, seq],
        exp_wh=[0, 0, 0],
        net_imp_wh=3 * seq,
        net_exp_wh=0,
        i_max_ma=[16012, 10000, 5998],
    )


alone = []


def worked():
    if uplink.state == "off" and not alone:
        alone.append(True)


def obey(order):
    if "link" in order:
        link.interface = order["link"]
    if "home_assistant" in order:
        settings.home_assistant = order["home_assistant"]
    if "interval_s" in order:
        settings.interval_s = order["interval_s"]
    if "carried_ma" in order:
        plant.carried_ma = order["carried_ma"]
    if "alone" in order:
        uplink.alone = order["alone"]
        uplink.job = worked
    if "ip" in order:
        link.ip = order["ip"]
    if "provider" in order:
        settings.provider = order["provider"]
    if "trial" in order:
        uplink.trial = Part(
            provider=order["trial"],
            ca_path="/nowhere/new",
            state="connecting",
            fault=None,
            words=None,
        )
    if "info" in order:
        info.update(order["info"])
    if "hosts" in order:
        desk.hosts.clear()
        desk.hosts.update(order["hosts"])
    for n in order.get("records", []):
        event = {"v": 1, "seq": n, "ts": None, "kind": "test", "words": "a test"}
        uplink.record(*records.event(json.dumps(event)))
    if "heap" in order:
        gc.collect()
        tell(heap=gc.mem_alloc())
    hunger.update(order.get("hunger", {}))
    if "stop" in order:
        uplink.stop(order["stop"])


def rest():
    began_ms = real.ticks_ms()
    real.sleep_ms(2)
    took_ms = real.ticks_diff(real.ticks_ms(), began_ms)
    if took_ms > 20:
        stalled_ms[0] += took_ms - 2


def run():
    # A function: the VM has no interpreter lock, so no global may appear while the thread runs.
    state = trial = None
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
        if alone == [True]:
            alone.append(False)
            tell(worked_alone=True)
        if uplink.trial and trial != (uplink.trial.state, uplink.trial.fault):
            trial = uplink.trial.state, uplink.trial.fault
            tell(trial=trial)
        if time.ticks_diff(time.ticks_ms(), next_ms) >= 0:
            next_ms = time.ticks_add(next_ms, config.get("period_ms", 1000))
            queue.put(measurement(seq))
            seq += 1
            if "energy_s" in config and seq % config["energy_s"] == 0:
                uplink.record(*records.energy(energy_record(seq // config["energy_s"] - 1)))
        stalest_ms = max(stalest_ms, time.ticks_diff(time.ticks_ms(), uplink.alive_ms))
        asked = None if uplink.answering else uplink.commands.take()
        if asked is not None:
            uplink.respond(commands.answer(*asked))
        if orders.poll(0):
            order = json.loads(sys.stdin.readline() or '{"end": true}')
            if "end" in order:
                break
            obey(order)
            if "made" in order:
                tell(made=seq)
        rest()
    if order["end"] == "collected":
        uplink.stop("restart")
        while uplink.state != "off":
            rest()
    gc.collect()
    tell(
        end=True,
        made=seq,
        starved=uplink.starved,
        buffers=len(buffers),
        short=uplink.starved_ms is not None,
        lost=backlog.lost if backlog else 0,
        published=uplink.published,
        dropped=queue.dropped,
        waiting=len(queue),
        resolved=WallClock.resolved,
        asked=uplink.clock.asked,
        connections=uplink.connections,
        stalest_ms=stalest_ms,
        crash=repr(uplink.crash) if uplink.crash else None,
        heap=gc.mem_alloc(),
    )


run()
