"""A board in one network namespace and a phone in another, joined by a cable for radio waves.

    unshare -rnm python namespace_stage.py FOLDER CHROMIUM

The board has the true addresses 192.168.251.1:80 and :53, the phone the name server that DHCP
would give it. Prints one JSON object: what dnspython, plain HTTP and the Chromium at that path
found on the phone.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "host_tests")]

from sim.air import Air  # noqa: E402
from sim.device import SimulatedDevice  # noqa: E402
from sim.options import parse  # noqa: E402
from sim.plant import Plant  # noqa: E402
from tools.simulate import factory_file  # noqa: E402

BOARD, PHONE = "192.168.251.1", "192.168.251.2"
PROBE = "connectivitycheck.gstatic.com"


def run(*command: str, timeout: float = 120) -> str:
    return subprocess.run(
        command, check=True, text=True, capture_output=True, timeout=timeout
    ).stdout


def phone_namespace(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the phone's namespace open; its pid names it."""
    resolv = folder / "resolv.conf"
    resolv.write_text(f"nameserver {BOARD}\noptions timeout:2 attempts:2\n")
    holder = subprocess.Popen(
        ["unshare", "-nm", "sh", "-c",
         f"mount --bind {resolv} /etc/resolv.conf; echo here; exec sleep 600"],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert holder.stdout
    assert holder.stdout.readline() == "here\n"
    return holder


def joined(pid: str) -> list[str]:
    """Lays the cable; returns what makes a command run on the phone."""
    on_phone = ["nsenter", "-t", pid, "-n", "-m"]
    run("ip", "link", "set", "lo", "up")
    run(
        "ip",
        "link",
        "add",
        "name",
        "board0",
        "type",
        "veth",
        "peer",
        "name",
        "phone0",
        "netns",
        pid,
    )
    run("ip", "addr", "add", f"{BOARD}/24", "dev", "board0")
    run("ip", "link", "set", "board0", "up")
    for command in (
        f"ip addr add {PHONE}/24 dev phone0",
        "ip link set phone0 up",
        "ip link set lo up",
        f"ip route add default via {BOARD}",
    ):
        run(*on_phone, *command.split())
    return on_phone


ASK = f"""
import dns.resolver, json, urllib.request
found = {{}}
found["dnspython"] = [str(a) for a in dns.resolver.resolve("captive.apple.com", "A", lifetime=60)]
with urllib.request.urlopen("http://{BOARD}/", timeout=60) as answer:
    found["http"] = [answer.status, answer.url, "Hallonstigen 7" in answer.read().decode()]
with urllib.request.urlopen("http://{PROBE}/generate_204", timeout=60) as answer:
    found["probe"] = [answer.status, answer.url]
print(json.dumps(found))
"""


async def main(folder: Path, chromium: str) -> None:
    holder = phone_namespace(folder)
    on_phone = joined(str(holder.pid))
    device = SimulatedDevice(
        folder / "flash",
        Air(),
        Plant(),
        portal_port=80,
        dns_port=53,
        factory=factory_file(parse([])),
        board={"host_ip": BOARD},
    )
    try:
        async with device:
            await device.until(lambda e: e["ev"] == "listen" and e["port"] == 80)
            ask = [*on_phone, sys.executable, "-c"]
            found = json.loads(await asyncio.to_thread(run, *ask, ASK))
            found["chromium"] = await asyncio.to_thread(
                run, *on_phone, chromium, "--headless", "--no-sandbox", "--disable-gpu",
                "--no-proxy-server", "--dump-dom", f"http://{PROBE}/generate_204",
            )  # fmt: skip
            print(json.dumps(found))
    finally:
        holder.kill()
        holder.wait()


if __name__ == "__main__":
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
