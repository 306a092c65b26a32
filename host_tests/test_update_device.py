"""Updates of the whole device: a command through the broker, a bundle from a web server, the new
firmware tried, kept or taken back."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_commands_device import Balancer, installed
from update_bench import firmware, key
from whole_device import WholeDevice

from shipping import bundle as bundles
from shipping.firmware import FIRMWARE
from sim.image import default_vm, probe

pytestmark = pytest.mark.whole_device


class Web:
    """A web server for one file. `cut`: bytes after which a connection breaks; `ranges`: whether
    it knows them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ranges = True
        self.cuts: list[int] = []
        self.asked: list[str] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.headers.get("Range", ""))
                start = 0
                if web.ranges and (found := re.match(r"bytes=(\d+)-", web.asked[-1])):
                    start = int(found[1])
                body = web.data[start:]
                self.send_response(206 if start else 200)
                if start:
                    total = len(web.data)
                    self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: web.cuts.pop(0)] if web.cuts else body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web(b"")
    yield server
    server.close()


def equipped(folder: Path) -> tuple[str, ...]:
    options = installed(folder)
    (folder / "update.key").write_bytes(bundles.public(key(0)))
    return options


ARCHITECTURE = probe(default_vm()).architecture
URL = "http://web.lan/ampguard/bundle.bin"


@pytest.mark.quiet
def test_a_device_updates_itself_while_it_measures_and_keeps_what_works(
    tmp_path: Path, web: Web
) -> None:
    web.data = firmware("9.1.0", ARCHITECTURE, tmp_path)
    web.cuts = [40_000, 0, 30_000]  # a server that goes away twice
    state = tmp_path / "flash"
    state.mkdir()
    with (
        WholeDevice(f"--web=127.0.0.1:{web.port}", *equipped(state)) as device,
        Balancer(device) as balancer,
    ):
        device.until("measurement", lambda p: p["cov"] > 0.9 and p["ts"])
        first = len(device.measurements)
        settings = (state / "settings").read_bytes()
        assert balancer.ask("update")["error"].startswith("url is missing")
        assert "expected http" in balancer.ask("update", url="ftp://x/y")["error"]
        assert "takes no force" in balancer.ask("update", url=URL, force=True)["error"]
        answer = balancer.ask("update", url=URL)
        assert answer["result"] == {"version": "9.1.0", "running": "0.1.0"}, answer
        assert "under way" in balancer.ask("update", url=URL)["error"]
        device.until("status", lambda p: p["reason"] == "restart", timeout=240)
        meanwhile = device.measurements[first:]
        assert sum(m["cov"] for m in meanwhile) / len(meanwhile) >= 0.9
        device.until("info", lambda p: p["firmware"] == "9.1.0")
        event = device.until("event", lambda p: p["kind"] == "update")["payload"]
        assert event["words"].startswith("9.1.0 runs, measures and reaches the broker")
        assert json.loads((state / "slot").read_bytes()[9:]) == {"run": "b"}
        assert len(web.asked) > 2
        assert web.asked[0] == "bytes=0-"
        again = balancer.ask("update", url=URL)
        assert again["result"] == {"version": "9.1.0", "running": "9.1.0"}, again
        assert (state / "settings").read_bytes() == settings
    assert not [line for line in device.words if "MemoryError" in line]


def test_a_firmware_that_crashes_or_stays_offline_is_taken_back(tmp_path: Path, web: Web) -> None:
    state = tmp_path / "flash"
    state.mkdir()
    crashing = firmware("9.1.0", ARCHITECTURE, tmp_path, board="raise ValueError('no such board')")
    trial = (FIRMWARE / "cloud" / "trial.py").read_text()
    assert "const(300_000)" in trial
    impatient = trial.replace("const(300_000)", "const(4_000)")
    lost = firmware("9.2.0", ARCHITECTURE, tmp_path, cloud__trial=impatient)
    with (
        WholeDevice(f"--web=127.0.0.1:{web.port}", *equipped(state)) as device,
        Balancer(device) as balancer,
    ):
        device.until("measurement", lambda p: p["ts"])
        web.data = crashing
        assert balancer.ask("update", url=URL)["ok"]
        assert taken_back(device, 0).startswith(
            "9.1.0 is taken back, 0.1.0 runs again: it started 3 times and was not confirmed"
        )
        web.data = lost
        since = len(device.lines)
        assert balancer.ask("update", url=URL)["ok"]
        device.until("status", lambda p: p["reason"] == "restart", timeout=240, since=since)
        device.put("/net", {"internet": "refused"})
        device.hear("9.2.0 did not reach the broker in time", timeout=240)
        device.put("/net", {"internet": "up"})
        words = taken_back(device, since)
        assert "it did not reach the broker within five minutes: failed: " in words
        assert balancer.ask("ping")["ok"]
        assert json.loads((state / "slot").read_bytes()[9:]) == {"run": "a"}


def taken_back(device: WholeDevice, since: int) -> str:
    """The words of the event about it, once the old firmware is online again."""
    event = device.until("event", lambda p: p["kind"] == "update_failed", 240, since)
    device.until("info", lambda p: p["firmware"] == "0.1.0", since=since)
    return str(event["payload"]["words"])
