"""From a hidden network to TLS, by the pages alone: the provider's certificate is uploaded, and
the device then proves the broker by it. A real mosquitto."""

from __future__ import annotations

from pathlib import Path

from cloud_broker import wait_for
from cryptography.hazmat.primitives.serialization import Encoding
from test_cloud_mosquitto import Authority, Balancer, Mosquitto
from whole_device import WholeDevice

from sim.air import NEIGHBOURS

HIDDEN = next(network for network in NEIGHBOURS if network.hidden)
MULTIPART = "multipart/form-data; boundary=x"


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

        def upload(data: bytes) -> tuple[int, str]:
            head = b'--x\r\nContent-Disposition: form-data; name="ca"; filename="a"\r\n\r\n'
            return device.page("/ca", head + data + b"\r\n--x--\r\n", MULTIPART)

        def says(words: str) -> None:
            wait_for(lambda: words in device.page("/status")[1])

        def post(path: str, **fields: str) -> int:
            return device.page(path, fields)[0]

        assert HIDDEN.ssid not in device.page("/")[1]
        assert post("/connect", ssid=HIDDEN.ssid, password="x" * 31) == 400
        assert post("/connect", ssid=HIDDEN.ssid, password=HIDDEN.password) == 200
        says(f"Online on {HIDDEN.ssid}")

        status, page = upload(authority.certificate.public_bytes(Encoding.DER)[:-9])
        assert (status, "not a whole certificate" in page) == (400, True)
        assert upload(stranger.certificate.public_bytes(Encoding.DER))[0] == 200
        assert post("/provider", host="broker.lan", port="1883", tls="yes") == 200
        says("Nothing was changed")
        assert "certificate is not accepted" in device.page("/status")[1]
        assert balancer.named("measurement") == []

        status, page = upload(authority.certificate.public_bytes(Encoding.PEM))
        assert (status, "The certificate is here" in page) == (200, True)
        assert post("/provider", host="broker.lan", port="1883", tls="yes") == 200
        says("The load balancer answers")

        # What does not answer takes nothing from what does.
        seen = len(balancer.named("measurement"))
        assert post("/provider", host="nobody.lan", port="1883", tls="yes") == 200
        says("Nothing was changed")
        assert "name was not found" in device.page("/status")[1]
        wait_for(lambda: len(balancer.named("measurement")) >= seen + 2)
        wait_for(lambda: len(balancer.named("measurement")) >= 2)
        wait_for(lambda: balancer.named("info"))
        assert balancer.named("info")[0]["payload"]["tls"] is True
        words = list(device.words)
    assert not [line for line in words if "portal: /" in line or "crashed" in line]
