"""What the uplink does over hours, in numbers for docs/uplink.md. Nothing here passes or fails.

    python host_tests/uplink_bench.py cycle [--minutes 120] [--vm PATH] [--heap 130k]

The uplink runs in the real VM, compiled as for a board, twenty times as fast as a device, in a
heap that leaves little. A broker comes and goes: it is there for half a minute to a minute and a
half, now and then with a connection that breaks in one of several ways, and away for up to a
minute. An energy record is made every minute. Told is what the heap held after a collection, the
least in each twelfth of the time.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "host_tests")]

from cloud_bench import VM64  # noqa: E402
from cloud_broker import Broker, Connection, UplinkDevice, wait_for  # noqa: E402

from shipping.firmware import SLOT  # noqa: E402
from sim.image import build  # noqa: E402

SPEED = 20
WINDOWS = 12
SAMPLES_S = 0.5  # of the host, between two looks at the heap


def measured(connection: Connection) -> int:
    return sum(p.kind == 3 and p.name == "measurement" for p in connection.packets)


def lives(rng: random.Random) -> Callable[[Connection], None]:
    """One connection's life: mostly a good one; else it breaks after some measurements."""

    def life(connection: Connection) -> None:
        end = rng.choice(["good"] * 4 + ["close", "reset", "silent", "no puback", "half a packet"])
        after = rng.randint(0, 40)
        if end == "good":
            connection.serve()
        connection.serve(until=lambda: measured(connection) >= after)
        if end == "reset":
            connection.reset()
        elif end == "half a packet":
            connection.send(b"\x30\x20\x00")
        if end != "close":
            while True:
                packet = connection.receive()
                if end == "no puback" and packet.kind != 3:
                    connection.answer(packet)

    return life


def cycle(minutes: int, vm: str, heap: str) -> None:
    rng = random.Random(5)
    life = lives(rng)
    packets: list[dict] = []
    outages = connections = 0
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        first = stack.enter_context(Broker(life))
        firmware = build(Path(vm)).folder / "flash" / SLOT
        device = stack.enter_context(
            UplinkDevice(
                vm,
                Path(folder),
                firmware=firmware,
                heap=heap,
                port=first.port,
                speed=SPEED,
                backlog="b",
                energy_s=60,
            )
        )
        port, broker = first.port, first
        began = time.monotonic()
        total = minutes * 60 / SPEED

        def pause(device_s: float) -> None:
            end = time.monotonic() + device_s / SPEED
            while (left := end - time.monotonic()) > 0:
                assert device.process.poll() is None, device.words()
                time.sleep(min(left, SAMPLES_S))
                with contextlib.suppress(BrokenPipeError):  # the assertion says what it died of
                    device.order(heap=True)

        def take(broker: Broker) -> None:
            nonlocal connections
            broker.close()
            connections += len(broker.connections)
            for connection in broker.connections:
                packets.extend(
                    p.payload for p in connection.packets if p.kind == 3 and p.name == "energy"
                )

        while time.monotonic() - began < total:
            pause(rng.uniform(30, 90))
            take(broker)
            pause(rng.uniform(1, 60))
            outages += 1
            broker = Broker(life, port=port)
        made = device.events[-1]["t"]
        take(broker)
        with Broker(lambda connection: connection.serve(), port=port) as last:
            wait_for(lambda: last.connections and measured(last.connections[-1]) >= 60)
            end = device.end("collected")
            take(last)
    heaps = [(e["t"], e["heap"]) for e in device.events if "heap" in e and "end" not in e]
    windows = [
        [h for t, h in heaps if n <= WINDOWS * t / max(made, 1) < n + 1] for n in range(WINDOWS)
    ]
    print(f"{end['made']} s of the device in {time.monotonic() - began:.0f} s, {outages} outages,")
    print(f"{connections} connections. Heap of {heap}; least in use in each twelfth, bytes:")
    print(", ".join(str(min(w)) if w else "-" for w in windows))
    told = {p["seq"] for p in packets}
    wanted = set(range(max(told) + 1))
    print(
        f"Energy records: {len(wanted)} made, {len(wanted - told)} lost, "
        f"{len(packets) - len(told)} told twice, {end['lost']} given up by the backlog. "
        f"{end['starved']} messages found no memory. "
        f"Stalest sign of life {end['stalest_ms']} ms."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parts = parser.add_subparsers(dest="part", required=True)
    long = parts.add_parser("cycle")
    long.add_argument("--minutes", type=int, default=120)
    long.add_argument("--vm", default=str(VM64))
    long.add_argument("--heap", default="130k")
    options = parser.parse_args()
    if options.part == "cycle":
        cycle(options.minutes, options.vm, options.heap)


if __name__ == "__main__":
    main()
