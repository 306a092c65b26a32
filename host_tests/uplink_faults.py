"""The whole device under the faults of a broker and of the way to it, for docs/uplink.md.

    python host_tests/uplink_faults.py [--tls] [--vm PATH] [--heap 100wk] [--only WORDS]
    python host_tests/uplink_faults.py --steady 600 [...]

The unchanged firmware runs in the simulator, in real time, against a broker of our own that turns
bad for some seconds, in one way after another. Before and after each fault a phase exceeds the
fuse, so that there are events to lose; energy records come every minute. What the meter made is
counted on the device, so that what no broker gets is counted as well.

`--steady`: no fault for so many seconds. How regular measurements arrive, and how old they are by
then: from the moment the meter hands one over to the moment the broker has it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "host_tests"), str(ROOT / "firmware")]
sys.path.append(str(ROOT / "sim" / "cpython"))

from cloud_broker import CONNECT, PUBLISH, Broker, Connection, Packet  # noqa: E402
from test_cloud_mosquitto import Authority  # noqa: E402

from device.storage import Record  # noqa: E402
from sim.air import BUILDING  # noqa: E402
from sim.options import parse  # noqa: E402
from sim.ports import free_port  # noqa: E402
from tools.benches.device import PROBE  # noqa: E402
from tools.simulate import BROKER_PORT, Simulation, factory_file, plant_for  # noqa: E402

FAULT_S = 14.0  # one more than the longest time until the device must have noticed
STEADY_S = 4.0

Behaviour = Callable[[Connection], None]


# -- what a broker may do instead of its duty


def hears_on(connection: Connection) -> None:
    while True:
        connection.receive()


def silent(connection: Connection) -> None:
    hears_on(connection)


def silent_from_the_start(connection: Connection) -> None:
    with contextlib.suppress(OSError):
        while connection.sock.recv(4096):
            pass


def garbage(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    silent_from_the_start(connection)


def drips(connection: Connection) -> None:
    connection.receive()
    for byte in b"\x20\x02\x00\x00\x30\x20\x00\x05":
        time.sleep(1)
        connection.send(bytes((byte,)))
    hears_on(connection)


def drips_from_the_start(connection: Connection) -> None:
    for byte in b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03\x00\x00\x00":
        time.sleep(1)
        connection.send(bytes((byte,)))


def drips_a_packet(connection: Connection) -> None:
    def drip() -> None:
        for byte in b"\x30\x20\x00\x05abcdefghijk":
            connection.send(bytes((byte,)))
            time.sleep(1)

    threading.Thread(target=drip, daemon=True).start()
    hears_on(connection)


def refuses(code: int) -> Behaviour:
    def behaviour(connection: Connection) -> None:
        connection.receive()
        connection.send(bytes((0x20, 2, 0, code)))
        hears_on(connection)

    return behaviour


def closes(connection: Connection) -> None:
    pass


def closes_after_connect(connection: Connection) -> None:
    connection.receive()


def resets(connection: Connection) -> None:
    connection.reset()


def resets_in_mid_packet(connection: Connection) -> None:
    connection.send(b"\x30\x20\x00\x05half")
    connection.receive()
    connection.reset()


def withholds_pubacks(connection: Connection) -> None:
    while True:
        packet = connection.receive()
        if packet.kind != PUBLISH:
            connection.answer(packet)


def garbage_in_the_middle(connection: Connection) -> None:
    connection.send(b"\xf0\xffwhat a broker never says")
    hears_on(connection)


def raw(behaviour: Behaviour) -> Behaviour:
    """Below TLS, if there is any."""

    def below(connection: Connection) -> None:
        behaviour(connection)

    below.raw = True  # type: ignore[attr-defined]
    return below


@dataclass
class Fault:
    """`start`: what a new connection meets, `middle`: what becomes of the present one. `net`:
    the network's part. `down`: nobody listens. `says`: words of the device that tell this fault
    from the end of the connection before."""

    start: Behaviour | None = None
    middle: Behaviour = closes
    net: dict[str, str] | None = None
    down: bool = False
    unrouted: bool = False
    says: str = "failed"


FAULTS = {
    "is killed and comes back": Fault(middle=resets, down=True),
    "accepts and stays silent": Fault(raw(silent_from_the_start)),
    "closes after CONNECT": Fault(closes_after_connect),
    "is no MQTT broker": Fault(raw(garbage)),
    "sends one byte a second": Fault(drips),
    "says it is not available": Fault(refuses(3)),
    "rejects the password": Fault(refuses(4)),
    "does not authorise": Fault(refuses(5)),
    "falls silent": Fault(middle=silent),
    "withholds PUBACKs": Fault(middle=withholds_pubacks),
    "sends garbage in the middle": Fault(middle=garbage_in_the_middle),
    "sends one byte a second in the middle": Fault(middle=drips_a_packet),
    "resets in mid-packet": Fault(middle=resets_in_mid_packet),
    "has its SYNs swallowed": Fault(middle=resets, unrouted=True, says="does not answer"),
    "has no name: DNS is dead": Fault(middle=resets, net={"dns": "dead"}, says="looked up"),
    "vanishes with the whole network": Fault(net={"internet": "blackhole"}, middle=silent),
}
TLS_FAULTS = {
    "sends one byte a second of a handshake": Fault(raw(drips_from_the_start)),
    "closes before the handshake": Fault(raw(closes)),
    "stays silent after the handshake": Fault(silent),
}


class Stage:
    """The broker's side: good, or as bad as `fault` says."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.fault: Fault | None = None
        self.tls = tls
        self.past: list[Connection] = []
        self.broker = Broker(self.life)
        self.port = self.broker.port

    def life(self, connection: Connection) -> None:
        fault = self.fault
        if fault is not None and fault.start is not None:
            self._bad(fault.start, connection)
            return
        self._good(connection)

    def _good(self, connection: Connection) -> None:
        wrapped = self._wrap(connection)
        if wrapped.receive().kind != CONNECT:
            return
        wrapped.send(b"\x20\x02\x00\x00")
        while True:
            wrapped.answer(wrapped.receive())
            if self.fault is not None:
                self.fault.middle(wrapped)
                return

    def _bad(self, behaviour: Behaviour, connection: Connection) -> None:
        behaviour(connection if getattr(behaviour, "raw", False) else self._wrap(connection))

    def _wrap(self, connection: Connection) -> Connection:
        if self.tls is not None:
            connection.sock = self.tls.wrap_socket(connection.sock, server_side=True)
        return connection

    def listen(self) -> None:
        """Anew, as a broker that was restarted: its old connections are reset."""
        self.stop()
        self.broker = Broker(self.life, port=self.port)

    def stop(self) -> None:
        self.past += self.broker.connections
        for connection in self.broker.connections:
            with contextlib.suppress(OSError):  # wakes its thread, without which nothing leaves
                connection.sock.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                connection.reset()
        self.broker.close()

    @property
    def packets(self) -> list[Packet]:
        """All that was published to it, by the time of its arrival."""
        found = [
            p
            for c in self.past + self.broker.connections
            for p in list(c.packets)
            if p.kind == PUBLISH
        ]
        return sorted(found, key=lambda p: p.t)

    def named(self, name: str, since: float = 0) -> list[Packet]:
        return [p for p in self.packets if p.name == name and p.t >= since]


class Device(Simulation):
    """A simulation whose broker is the stage, with no subscriber; keeps what the device says."""

    def __init__(self, folder: Path, stage: Stage, options: list[str]) -> None:
        super().__init__(parse(options), None, folder)
        boot = (ROOT / "firmware" / "boot.py").read_text()
        self.device._files = {"boot.py": boot + PROBE}
        self.device._on_console = self._heard
        self.stage = stage
        self.made: list[tuple[float, int, int, int]] = []  # heard at, seq, cov, ms
        self.words: list[tuple[float, str]] = []

    async def _start_broker(self, stack: contextlib.AsyncExitStack) -> None:
        self.air.route("broker.lan", BROKER_PORT, "127.0.0.1", self.stage.port)

    def _heard(self, line: str) -> None:
        parts = line.split()
        if len(parts) == 4 and parts[0] == "probe":
            self.made.append((time.monotonic(), *map(int, parts[1:])))
        else:
            self.words.append((time.monotonic(), line))
            if " E " in line or "Error" in line or "File" in line:
                print(line, file=sys.stderr, flush=True)

    async def until(self, wanted: Callable[[], Any], seconds: float, what: str) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := wanted()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}; the device said {self.words[-8:]}")
            await asyncio.sleep(0.02)
        return found


def covered(made: list[tuple[float, int, int, int]]) -> tuple[float, float]:
    """(mean, worst 10 s) share of the time measured."""
    spans = [
        (cov / 1000, at - before)
        for (_, _, _, before), (_, _, cov, at) in itertools.pairwise(made)
    ]
    total = sum(length for _, length in spans)
    worst = 1.0
    for first in range(len(spans)):
        share = length = 0.0
        for cov, span in spans[first:]:
            share += cov * span
            length += span
            if length >= 9_900:
                worst = min(worst, share / length)
                break
    return sum(cov * length for cov, length in spans) / total, worst


async def suffer(device: Device, stage: Stage, name: str, fault: Fault) -> str:
    await device.until(lambda: stage.named("info"), 60, "never came online")
    await asyncio.sleep(STEADY_S)
    device.plant.set(i=[40, 10, 6])  # an event before, another after
    device.plant_changed()
    before = stage.named("measurement")[-1].payload["seq"]
    began = time.monotonic()
    route = dict(device.air.routes)
    stage.fault = fault
    if fault.unrouted:
        device.air.routes.clear()
    device.air.set(**(fault.net or {}))
    if fault.down:
        stage.stop()

    def failed(since: float) -> float | None:
        return next((t for t, w in device.words if t > since and "cloud: failed" in w), None)

    def said() -> float | None:
        return next((t for t, w in device.words if t > began and fault.says in w), None)

    noticed_at = await device.until(lambda: failed(began), 30, f"{name}: not noticed")
    noticed = noticed_at - began
    if fault.says != "failed":
        noticed = await device.until(said, 30, f"{name}: not noticed") - noticed_at
    if fault.start:  # the end of the connection before is no news of this fault

        def dialled() -> list[float]:
            return [c.t for c in stage.broker.connections if c.t > began]

        first = (await device.until(dialled, 30, f"{name}: not tried"))[0]
        # The same words are not said twice: then the next attempt tells.
        await device.until(lambda: failed(first) or dialled()[1:], 30, f"{name}: not noticed")
        noticed = (failed(first) or dialled()[1]) - first
    await asyncio.sleep(max(0.0, began + FAULT_S - time.monotonic()))
    device.plant.set(i=[16, 10, 6])
    device.plant_changed()
    await asyncio.sleep(1.0)
    device.air.routes.update(route)
    device.air.set(internet="up", dns="up")
    stage.fault = None
    stage.listen()
    healed = time.monotonic()
    back = await device.until(lambda: stage.named("measurement", healed), 90, f"{name}: not back")
    had = [p for p in stage.named("measurement") if p.t < healed]
    lost = back[0].payload["seq"] - had[-1].payload["seq"] - 1
    late = len([p for p in had if p.payload["seq"] > before])
    await asyncio.sleep(STEADY_S)
    mean, worst = covered([m for m in device.made if began - 1 <= m[0]])
    return (
        f"| {name} | {noticed:.1f} | {back[0].t - healed:.1f} | {lost} | {late} "
        f"| {mean:.3f} | {worst:.3f} |"
    )


def told(stage: Stage, name: str) -> str:
    seqs = [p.payload["seq"] for p in stage.named(name)]
    made = range(min(seqs), max(seqs) + 1)
    return (
        f"{len(made)} made, {len(set(made) - set(seqs))} lost, {len(seqs) - len(set(seqs))} twice"
    )


async def measure(device: Device, stage: Stage, faults: dict[str, Fault], steady_s: float) -> None:
    async def work() -> None:
        if steady_s:
            await watch(device, stage, steady_s)
            return
        print("| a broker that ... | noticed, s | back, s | live lost | live late | cov | worst |")
        print("|---|--:|--:|--:|--:|--:|--:|")
        for name, fault in faults.items():
            print(await suffer(device, stage, name, fault), flush=True)
        wanted = len(stage.named("energy"))
        await device.until(lambda: len(stage.named("energy")) > wanted, 90, "no energy record")
        print(f"\nEnergy records: {told(stage, 'energy')}. Events: {told(stage, 'event')}.")

    running = asyncio.ensure_future(device.run())
    working = asyncio.ensure_future(work())
    await asyncio.wait({running, working}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():  # by Ctrl-C
        working.cancel()
    device._finish(0, "")
    await running
    await working


def percentiles(values: list[float]) -> str:
    ordered = sorted(values)

    def at(share: float) -> float:
        return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    return f"{at(0.5):.0f} | {at(0.95):.0f} | {at(0.99):.0f} | {1000 * ordered[-1]:.0f}"


async def watch(device: Device, stage: Stage, seconds: float) -> None:
    await device.until(lambda: stage.named("info"), 60, "never came online")
    await asyncio.sleep(STEADY_S)
    began = time.monotonic()
    await asyncio.sleep(seconds)
    came = {p.payload["seq"]: p.t for p in stage.named("measurement", began)}
    made = {seq: t for t, seq, _, _ in device.made}
    intervals = [abs(b - a - 1) for a, b in itertools.pairwise(came.values())]
    ages = [t - made[seq] for seq, t in came.items() if seq in made]
    print(f"{len(came)} measurements, {max(came) - min(came) + 1 - len(came)} missing, in ms:\n")
    print("| | median | p95 | p99 | worst |\n|---|--:|--:|--:|--:|")
    print(f"| interval, off 1.0 s by | {percentiles(intervals)} |")
    print(f"| age at the broker | {percentiles(ages)} |")


def lay_out(folder: Path, authority: Authority | None) -> None:
    """A device that knows the building's Wi-Fi and, for TLS, the provider's certificate."""
    folder.mkdir()
    network = {"wifi_ssid": BUILDING.ssid, "wifi_password": BUILDING.password}
    Record(str(folder / "settings")).save({**network, "supply_max_a": 25})
    if authority is None:
        return
    authority.der(folder / "ca.der")
    options = parse([])
    factory = factory_file(options, plant_for(options, None), tls=True)
    (folder / "factory.json").write_text(json.dumps(factory))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--vm")
    parser.add_argument("--heap", default="100wk")
    parser.add_argument("--only", default="")
    parser.add_argument("--steady", type=float, default=0)
    given = parser.parse_args()
    faults = FAULTS | (TLS_FAULTS if given.tls else {})
    with tempfile.TemporaryDirectory(prefix="ampguard-faults-") as name:
        folder = Path(name)
        authority = context = None
        if given.tls:
            authority = Authority()
            authority.issue(folder, "broker.lan")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "broker.pem", folder / "broker.key")
        lay_out(folder / "flash", authority)
        stage = Stage(context)
        options = [
            *("--json", "--no-provision", f"--state={folder / 'flash'}", f"--heap={given.heap}"),
            *(f"--portal={free_port()}", f"--control={free_port()}"),
            f"--dns={free_port(socket.SOCK_DGRAM)}",
            *([f"--vm={given.vm}"] if given.vm else []),
        ]
        chosen = {n: f for n, f in faults.items() if given.only in n}

        async def run() -> None:
            device = Device(folder / "flash", stage, options)
            await measure(device, stage, chosen, given.steady)

        asyncio.run(run())


if __name__ == "__main__":
    main()
