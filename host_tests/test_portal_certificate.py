"""From a hidden network to TLS, by the pages alone: the provider's certificate is uploaded, and
the device then proves the broker by it. A real mosquitto."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import test_cloud_mosquitto as broker_room
from cryptography.hazmat.primitives.serialization import Encoding
from test_cloud_mosquitto import Authority, Balancer, Mosquitto
from whole_device import WholeDevice

from sim.air import NEIGHBOURS

HIDDEN = next(network for network in NEIGHBOURS if network.hidden)
FORM = "application/x-www-form-urlencoded"


class Phone:
    def __init__(self, device: WholeDevice) -> None:
        self._home = f"http://127.0.0.1:{device.portal}"

    def ask(self, path: str, body: bytes | None = None, kind: str = FORM) -> tuple[int, str]:
        """(status, text) of the page it ends at; one that finds no heap, or no radio, comes
        again."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            request = urllib.request.Request(self._home + path, body, {"Content-Type": kind})
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as fault:
                if fault.code != 503:
                    return fault.code, fault.read().decode()
            except OSError:
                pass
            time.sleep(0.25)
        raise AssertionError(f"{path} is not answered")

    def post(self, path: str, **fields: str) -> tuple[int, str]:
        return self.ask(path, urlencode(fields).encode())

    def upload(self, data: bytes) -> tuple[int, str]:
        body = b'--x\r\nContent-Disposition: form-data; name="ca"; filename="a"\r\n\r\n'
        kind = "multipart/form-data; boundary=x"
        return self.ask("/ca", body + data + b"\r\n--x--\r\n", kind)

    def until(self, words: str) -> None:
        broker_room.wait_for(lambda: words in self.ask("/status")[1])


def test_an_uploaded_certificate_lets_the_device_speak_tls_with_its_broker(tmp_path: Path) -> None:
    authority, stranger = Authority(), Authority("Somebody else's CA")
    folder = tmp_path / "broker"
    folder.mkdir()
    authority.issue(folder, "broker.lan")
    with (
        Mosquitto(folder, tls=True) as broker,
        Balancer(broker, tls=True) as balancer,
        WholeDevice("--no-provision", f"--broker=127.0.0.1:{broker.port}") as device,
    ):
        device.hear("opens its access point")
        phone = Phone(device)
        assert HIDDEN.ssid not in phone.ask("/")[1]
        assert phone.post("/connect", ssid=HIDDEN.ssid, password="x" * 31)[0] == 400
        assert phone.post("/connect", ssid=HIDDEN.ssid, password=HIDDEN.password)[0] == 200
        phone.until(f"Online on {HIDDEN.ssid}")

        status, page = phone.upload(authority.certificate.public_bytes(Encoding.DER)[:-9])
        assert (status, "not a whole certificate" in page) == (400, True)
        assert phone.upload(stranger.certificate.public_bytes(Encoding.DER))[0] == 200
        assert phone.post("/provider", host="broker.lan", port="1883", tls="yes")[0] == 200
        phone.until("Nothing was changed")
        assert "certificate is not accepted" in phone.ask("/status")[1]
        assert balancer.named("measurement") == []

        status, page = phone.upload(authority.certificate.public_bytes(Encoding.PEM))
        assert (status, "The certificate is here" in page) == (200, True)
        assert phone.post("/provider", host="broker.lan", port="1883", tls="yes")[0] == 200
        phone.until("The load balancer answers")

        # What does not answer takes nothing from what does.
        seen = len(balancer.named("measurement"))
        assert phone.post("/provider", host="nobody.lan", port="1883", tls="yes")[0] == 200
        phone.until("Nothing was changed")
        assert "name was not found" in phone.ask("/status")[1]
        broker_room.wait_for(lambda: len(balancer.named("measurement")) >= seen + 2)
        broker_room.wait_for(lambda: len(balancer.named("measurement")) >= 2)
        broker_room.wait_for(lambda: balancer.named("info"))
        assert balancer.named("info")[0]["payload"]["tls"] is True
        words = list(device.words)
    assert not [line for line in words if "portal: /" in line or "crashed" in line]
