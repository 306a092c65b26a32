"""The uplink's fault table in numbers: `python host_tests/uplink_bench.py [outages]`. Prints
Markdown for docs/uplink.md; nothing here passes or fails, test_cloud_faults.py does.

The uplink runs in the real VM against brokers that misbehave, five times as fast as a device; the
times are the device's own. Ten records are handed over around each fault.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cloud_bench import VM64
from cloud_broker import Broker, UplinkDevice, wait_for
from test_cloud_faults import FAULTS, good, measurements

SPEED = 5
RECORDS = list(range(10))


def events(broker: Broker) -> list[int]:
    packets = [p for c in broker.connections for p in c.packets]
    return [p.payload["seq"] for p in packets if p.kind == 3 and p.name == "event"]


def fault_row(name: str) -> str:
    behaviour, _ = FAULTS[name]
    with (
        tempfile.TemporaryDirectory() as folder,
        Broker(behaviour, good) as broker,
        UplinkDevice(str(VM64), Path(folder), port=broker.port, backlog="b") as device,
    ):
        device.order(records=RECORDS[:5])
        device.wait_state("failed")
        noticed = time.monotonic()
        device.order(records=RECORDS[5:])
        first = broker.connections[0]
        had = measurements(first)
        began = had[1].t if len(had) > 1 else first.t
        wait_for(lambda: len(broker.connections) > 1 and measurements(broker.connections[-1]))
        back = measurements(broker.connections[-1])[0]
        wait_for(lambda: set(events(broker)) >= set(RECORDS))
        device.end()
        told = events(broker)
    lost = back.payload["seq"] - had[-1].payload["seq"] - 1 if had else back.payload["seq"]
    return (
        f"| {name} | {(noticed - began) * SPEED:.1f} | {(back.t - noticed) * SPEED:.1f} "
        f"| {lost} | {len(set(RECORDS) - set(told))} | {len(told) - len(set(told))} |"
    )


def outages(count: int) -> str:
    """Heap in use after some outages and after `count`, in a heap of 200 kB."""

    def short(connection):
        connection.serve(until=lambda: len(measurements(connection)) >= 3)

    heaps = {}
    for cycles in (10, count):
        with (
            tempfile.TemporaryDirectory() as folder,
            Broker(short) as broker,
            UplinkDevice(str(VM64), Path(folder), port=broker.port, speed=20) as device,
        ):
            while len(broker.connections) < cycles:
                time.sleep(0.05)
            last = device.end("collected")
            heaps[cycles] = (last["heap"], last["made"])
    return "; ".join(
        f"after {cycles} outages in {made} s of the device {heap} bytes"
        for cycles, (heap, made) in heaps.items()
    )


if __name__ == "__main__":
    print(
        "| a broker that ... | noticed after, s | back after, s | measurements | records | twice |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    for name in FAULTS:
        print(fault_row(name), flush=True)
    print("\nHeap in use", outages(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
