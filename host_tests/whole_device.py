"""A whole device, started as a person starts it: tools/simulate.py in its own process.

with WholeDevice("--load", "16,10,6") as device:
    first = device.until("measurement")
    device.put("/plant", {"i": [40, 10, 6]})
    device.until("measurement", lambda p: p["i"][0] > 35)
    device.post("/power", {"do": "cut"})
device.measurements, device.said("installer"), device.code
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sim.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
SERIAL = "AG100042317G"
FORM = "application/x-www-form-urlencoded"

Line = dict[str, Any]  # t, topic, payload, qos, retain: what --json prints


class WholeDevice:
    """tools/simulate.py --json with the given options and free ports. `code` when it has ended."""

    def __init__(self, *options: str, serial: str = SERIAL) -> None:
        self.root = f"ampguard/{serial}/"
        self.portal = free_port()
        self.dns = free_port(socket.SOCK_DGRAM)
        self.control = free_port()
        self.lines: list[Line] = []
        self.words: list[str] = []
        self.garbage: list[str] = []  # lines on stdout that are no JSON: there must be none
        self.code: int | None = None
        self._news = threading.Condition()
        ports = {"portal": self.portal, "dns": self.dns, "control": self.control}
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "tools" / "simulate.py"),
                "--json",
                *(f"--{name}={port}" for name, port in ports.items()),
                f"--serial={serial}",
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, keep), daemon=True)
            for pipe, keep in (
                (self.process.stdout, self._keep_line),
                (self.process.stderr, self.words.append),
            )
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> "WholeDevice":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if kind is None:  # else that is what the test fails with
            assert not self.broken, self.broken

    @property
    def broken(self) -> list[str]:
        """Messages that were not what docs/protocol.md and docs/schema promise."""
        return [line for line in list(self.words) if "breaks the contract" in line]

    def close(self, number: int = signal.SIGINT) -> int:
        """Ends it as Ctrl-C does, if it still runs. Returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait(40)

    def wait(self, timeout: float) -> int:
        """Waits for it to end by itself. Returns its exit code."""
        try:
            self.code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise TimeoutError(f"does not end; {self._tail()}") from None
        finally:
            for reader in self._readers:
                reader.join(5)
        return self.code

    # What it published, and what it said.

    def topic(self, name: str) -> list[Line]:
        """All messages on one of its topics so far."""
        return [line for line in list(self.lines) if line["topic"] == self.root + name]

    @property
    def measurements(self) -> list[Any]:
        """The payloads of all measurements so far."""
        return [line["payload"] for line in self.topic("measurement")]

    def until(
        self,
        name: str,
        wanted: Callable[[Any], bool] = lambda _: True,
        timeout: float = 120,
        since: int = 0,
    ) -> Line:
        """The first message on a topic, from line `since` on, whose payload is wanted."""

        def found() -> Line | None:
            for line in self.lines[since:]:
                if line["topic"] == self.root + name and wanted(line["payload"]):
                    return line
            return None

        return self._await(found, timeout, f"no such {name}")

    def hear(self, words: str, timeout: float = 120) -> str:
        """The first line on stderr that has `words` in it."""

        def found() -> str | None:
            return next((line for line in self.words if words in line), None)

        return self._await(found, timeout, f"never said {words!r}")

    def said(self, who: str) -> list[str]:
        """What one of the voices on stderr (simulate, installer, board, device, broker) said."""
        return [line.split(": ", 1)[1] for line in list(self.words) if line.startswith(who + ": ")]

    @property
    def broker(self) -> tuple[str, int]:
        """Where its broker listens."""
        host, _, port = self.hear("simulate: broker ").split()[2].rstrip(",").partition(":")
        return host, int(port)

    # What a phone on its access point sees.

    def page(
        self, path: str, body: bytes | dict[str, str] | None = None, kind: str = FORM
    ) -> tuple[int, str]:
        """(status, text) of where a request ends; `body` is posted, a dict as a form. Asked again
        for a minute where nobody answers yet, the radio is elsewhere or the heap too short."""
        data = urllib.parse.urlencode(body).encode() if isinstance(body, dict) else body
        url = f"http://127.0.0.1:{self.portal}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": kind})
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as fault:
                if fault.code != 503:
                    return fault.code, fault.read().decode()
                nobody = fault
            except OSError as fault:
                nobody = fault
            if time.monotonic() > deadline:
                raise AssertionError(f"{path} is not answered; {self._tail()}") from nobody
            time.sleep(0.2)

    # What turns it.

    def get(self, path: str) -> Any:
        return self._ask("GET", path, None)

    def put(self, path: str, fields: dict[str, Any]) -> Any:
        return self._ask("PUT", path, fields)

    def post(self, path: str, fields: dict[str, Any]) -> Any:
        return self._ask("POST", path, fields)

    def _ask(self, method: str, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.control}{path}"
        request = urllib.request.Request(url, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def _await(self, found: Callable[[], Any], timeout: float, complaint: str) -> Any:
        deadline = time.monotonic() + timeout
        with self._news:
            while (result := found()) is None:
                left = deadline - time.monotonic()
                if left <= 0 or self.process.poll() is not None:
                    raise TimeoutError(f"{complaint} in {timeout} s; {self._tail()}")
                self._news.wait(min(left, 0.5))
        return result

    def _tail(self) -> str:
        return "it said last:\n" + "\n".join(self.words[-40:])

    def _read(self, pipe: Any, keep: Callable[[str], None]) -> None:
        for line in pipe:
            with self._news:
                keep(line.rstrip("\n"))
                self._news.notify_all()

    def _keep_line(self, line: str) -> None:
        try:
            self.lines.append(json.loads(line))
        except ValueError:
            self.garbage.append(line)
