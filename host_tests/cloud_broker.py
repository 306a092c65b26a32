"""A broker that misbehaves as told, and the device's uplink in a real VM to try it on."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cloud_bench import LIB, ROOT, VM_SIDE, vm_environment

PATIENCE_S = 90  # before a test that waits for something gives up


@dataclass
class Packet:
    t: float
    operation: int  # the first byte
    body: bytes

    @property
    def kind(self) -> int:
        return self.operation >> 4

    @property
    def topic(self) -> str:
        (size,) = struct.unpack_from(">H", self.body)
        return self.body[2 : 2 + size].decode()

    @property
    def name(self) -> str:
        return self.topic.rsplit("/", 1)[1]

    @property
    def qos(self) -> int:
        return self.operation >> 1 & 3

    @property
    def packet_id(self) -> int:
        at = 2 + len(self.topic) if self.kind == 3 else 0
        return struct.unpack_from(">H", self.body, at)[0]

    @property
    def payload(self) -> dict:
        return json.loads(self.body[2 + len(self.topic) + (2 if self.qos else 0) :])


CONNECT, PUBLISH, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 8, 12, 14


class Gone(Exception):
    """The device closed the connection."""


@dataclass
class Connection:
    """One connection of the device, as the broker sees it."""

    sock: socket.socket
    t: float
    packets: list[Packet] = field(default_factory=list)
    ended: float | None = None  # when the device closed it

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                part = self.sock.recv(size - len(data))
            except OSError:
                part = b""
            if not part:
                self.ended = time.monotonic()
                raise Gone
            data += part
        return data

    def receive(self) -> Packet:
        operation = self._exactly(1)[0]
        size = shift = 0
        while True:
            byte = self._exactly(1)[0]
            size |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
        packet = Packet(time.monotonic(), operation, self._exactly(size))
        self.packets.append(packet)
        return packet

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.sock.sendall(data)

    def reset(self) -> None:
        """Ends with a RST instead of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def accept(self) -> None:
        """The introduction as it should be."""
        assert self.receive().kind == CONNECT
        self.send(b"\x20\x02\x00\x00")

    def answer(self, packet: Packet) -> None:
        """What a good broker answers."""
        if packet.kind == PUBLISH and packet.qos:
            self.send(b"\x40\x02" + struct.pack(">H", packet.packet_id))
        elif packet.kind == PINGREQ:
            self.send(b"\xd0\x00")
        elif packet.kind == SUBSCRIBE:
            self.send(b"\x90\x03" + struct.pack(">H", packet.packet_id) + b"\x01")

    def serve(self, until: Callable[[], bool] = lambda: False) -> None:
        """A good broker, until the device goes or `until()` holds after a packet."""
        self.accept()
        while not until():
            self.answer(self.receive())


class Broker:
    """Listens on 127.0.0.1; the n-th connection meets the n-th behaviour, the last one repeats."""

    def __init__(self, *behaviours: Callable[[Connection], None], port: int = 0):
        self.behaviours = behaviours
        self.connections: list[Connection] = []
        self.changed = threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            connection = Connection(sock, time.monotonic())
            with self.changed:
                self.connections.append(connection)
            at = min(len(self.connections), len(self.behaviours)) - 1
            threading.Thread(
                target=self._play, args=(self.behaviours[at], connection), daemon=True
            ).start()

    def _play(self, behaviour: Callable[[Connection], None], connection: Connection) -> None:
        try:
            behaviour(connection)
        except Gone:
            pass
        finally:
            with contextlib.suppress(OSError):
                connection.sock.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which would keep the port
        self.listener.close()
        for connection in self.connections:
            connection.sock.close()

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def wait_for(condition: Callable[[], object], what: str = "") -> object:
    """The condition's first true value; fails after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {PATIENCE_S} s in vain {what}")


class UplinkDevice:
    """cloud_vm/uplink_device.py in a VM. `events` are the lines it printed."""

    def __init__(
        self,
        vm: str,
        folder: Path,
        *,
        lib: Path = LIB,
        firmware: Path = ROOT / "firmware",
        heap: str = "200k",
        **config,
    ):
        config = {"host": "127.0.0.1", "tls": False, "speed": 5, **config}
        self.events: list[dict] = []
        self.noise: queue.Queue[str] = queue.Queue()
        self.process = subprocess.Popen(
            [
                *(vm, "-X", f"heapsize={heap}"),
                *(str(VM_SIDE / "uplink_device.py"), json.dumps(config)),
            ],
            cwd=folder,
            env=vm_environment(lib, firmware),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.reader = threading.Thread(target=self._listen, daemon=True)
        self.reader.start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            try:
                self.events.append(json.loads(line))
            except ValueError:
                self.noise.put(line)

    @property
    def states(self) -> list[str]:
        return [event["state"] for event in self.events if "state" in event]

    def order(self, **order: object) -> None:
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def wait_state(self, start: str, after: int = 0) -> dict:
        """The first event whose state starts so, from the `after`-th event on."""

        def found() -> dict | None:
            for event in self.events[after:]:
                if event.get("state", "").startswith(start):
                    return event
            assert self.process.poll() is None, self.words()
            return None

        return wait_for(found, f"for {start!r}, had {self.events}")

    def words(self) -> str:
        return f"exit code {self.process.poll()}: " + "".join(self.noise.queue)

    def end(self, end: object = True) -> dict:
        """Stops it and returns its last words: counts, heap. A crash fails the test."""
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.order(end=end)
        self.process.wait(PATIENCE_S)
        self.reader.join(PATIENCE_S)
        last = self.events[-1]
        assert last.get("end"), self.words()
        assert last["crash"] is None, self.words()
        return last

    def __enter__(self) -> UplinkDevice:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
