"""The uplink in a real VM against the real mosquitto, configured as docs/broker.md says."""

import contextlib
import datetime
import hmac
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from cloud_bench import ROOT, VM32, VM64, VMS
from cloud_broker import UplinkDevice, wait_for
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from jsonschema import Draft202012Validator

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
SERIAL = "AG100042317G"
ROOT_TOPIC = f"ampguard/{SERIAL}/"
PASSWORD = hmac.new(b"K7M3XQ9A", f"mqtt:{SERIAL}".encode(), "sha256").hexdigest()
HOST = "broker.example"

pytestmark = pytest.mark.skipif(
    MOSQUITTO is None and "AMPGUARD_REQUIRE_ALL" not in os.environ,
    reason="mosquitto is not installed",
)


def documented(name: str) -> str:
    contract = (ROOT / "docs" / "broker.md").read_text()
    return re.search(rf"```conf {re.escape(name)}\n(.*?)```", contract, re.DOTALL)[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Authority:
    """A CA, and the certificates it signs."""

    def __init__(self, name: str = "Test CA"):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key, authority=True)

    def _sign(self, name, key, *, names=(), authority=False, days=(-1, 30)):
        now = datetime.datetime.now(datetime.UTC)
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=authority,
            crl_sign=authority,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(usage, critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def der(self, path: Path) -> Path:
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.DER))
        return path

    def issue(self, folder: Path, host: str = HOST, days: tuple[int, int] = (-1, 30)) -> None:
        """Lays ca.pem, broker.pem and broker.key into the folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        try:
            names = [x509.IPAddress(ipaddress.ip_address(host))]
        except ValueError:
            names = [x509.DNSName(host)]
        certificate = self._sign(name, key, names=names, days=days)
        pem = serialization.Encoding.PEM
        (folder / "ca.pem").write_bytes(self.certificate.public_bytes(pem))
        (folder / "broker.pem").write_bytes(certificate.public_bytes(pem))
        (folder / "broker.key").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )


class Mosquitto:
    """docs/broker.md's broker in a folder, on a free port; `tls` False leaves TLS out."""

    def __init__(self, folder: Path, *, tls: bool, users: dict[str, str] | None = None):
        self.folder = folder
        self.port = free_port()
        configuration = documented("mosquitto.conf")
        first = r"listener 8883 0\.0\.0\.0\n"
        if not tls:
            first += r"(?:(?:cafile|certfile|keyfile|tls_version) .*\n)+"
        configuration, found = re.subn(first, f"listener {self.port} 127.0.0.1\n", configuration)
        assert found == 1
        configuration = configuration.replace("/etc/mosquitto", str(folder))
        (folder / "mosquitto.conf").write_text(f"user root\n{configuration}")
        (folder / "acl").write_text(documented("acl"))
        (folder / "acl").chmod(0o600)
        for user, password in (users or {SERIAL: PASSWORD, "balancer": "b"}).items():
            create = [] if (folder / "passwords").exists() else ["-c"]
            subprocess.run(
                ["mosquitto_passwd", *create, "-b", str(folder / "passwords"), user, password],
                check=True,
                capture_output=True,
            )
        self.process = None
        self.start()

    def start(self) -> None:
        self.log = (self.folder / "mosquitto.log").open("ab")
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self.folder / "mosquitto.conf"), "-v"],
            stdout=self.log,
            stderr=self.log,
        )

        def listening() -> bool:
            assert self.process.poll() is None, self.words()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return True
            return False

        wait_for(listening)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()

    def words(self) -> str:
        return (self.folder / "mosquitto.log").read_text(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Balancer:
    """Hears everything under ampguard/ the way a load balancer does."""

    def __init__(self, broker: Mosquitto, tls: bool = False):
        options = ["--cafile", str(broker.folder / "ca.pem"), "--insecure"] if tls else []
        self.process = subprocess.Popen(
            [
                *("mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-V", "5"),
                *("-u", "balancer", "-P", "b", "-q", "1", "-t", "ampguard/#", *options),
                *("-F", '{"topic":"%t","qos":%q,"retain":%r,"payload":%p}'),
                "--retain-as-published",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.messages: list[dict] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            message = json.loads(line)
            message["name"] = message["topic"].removeprefix(ROOT_TOPIC)
            self.messages.append(message)

    def hear(self) -> list[dict]:
        return list(self.messages)

    def named(self, name: str) -> list[dict]:
        return [message for message in self.hear() if message["name"] == name]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def check_all(messages: list[dict]) -> None:
    for message in messages:
        schema = json.loads((ROOT / "docs" / "schema" / f"{message['name']}.json").read_text())
        Draft202012Validator(schema).validate(message["payload"])


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def plain(tmp_path):
    (tmp_path / "broker").mkdir()
    with Mosquitto(tmp_path / "broker", tls=False) as broker:
        yield broker


@pytest.mark.parametrize("vm", VMS)
def test_a_balancer_hears_what_the_contract_says_and_every_message_is_valid(vm, plain, tmp_path):
    with Balancer(plain) as balancer, UplinkDevice(vm, tmp_path, port=plain.port) as device:
        wait_for(lambda: len(balancer.named("measurement")) >= 5)
        device.order(info={"ip": "192.168.1.99"})
        wait_for(lambda: len(balancer.named("info")) >= 2)
        device.order(stop="restart")
        wait_for(lambda: len(balancer.named("status")) >= 2)
        heard = balancer.hear()
    check_all(heard)
    by_name = {m["name"]: (m["qos"], m["retain"]) for m in heard}
    assert by_name == {"measurement": (0, 0), "status": (1, 1), "info": (1, 1)}
    seqs = [m["payload"]["seq"] for m in heard if m["name"] == "measurement"]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    online, offline = (m["payload"] for m in heard if m["name"] == "status")
    assert (online["online"], online["reason"]) == (True, "connected")
    assert (offline["online"], offline["reason"]) == (False, "restart")
    assert [m["payload"]["ip"] for m in heard if m["name"] == "info"] == [None, "192.168.1.99"]


def test_a_device_that_dies_leaves_its_last_will(plain, tmp_path):
    with Balancer(plain) as balancer:
        with UplinkDevice(str(VM64), tmp_path, port=plain.port) as device:
            wait_for(lambda: balancer.named("info") and balancer.named("measurement"))
            device.process.send_signal(signal.SIGKILL)
        will = wait_for(lambda: balancer.named("status")[1:])[0]
    assert will["payload"] == {"v": 1, "online": False, "ts": None, "reason": "lost"}
    assert will["retain"] == 1
    with Balancer(plain) as late:
        kept = wait_for(lambda: [m for m in late.hear() if m["name"] in ("status", "info")][1:])
        assert kept
        assert late.named("status")[0]["payload"]["online"] is False
        assert late.named("info")[0]["payload"]["serial"] == SERIAL


@pytest.mark.parametrize("vm", VMS)
def test_a_restarted_broker_is_served_again_with_nothing_old(vm, plain, tmp_path):
    with UplinkDevice(vm, tmp_path, port=plain.port) as device:
        with Balancer(plain) as balancer:
            wait_for(lambda: balancer.named("measurement"))
        plain.stop()
        failed = device.wait_state("failed")
        had = len(device.events)
        plain.start()
        with Balancer(plain) as balancer:
            device.wait_state("online", after=had)
            wait_for(lambda: len(balancer.named("measurement")) >= 2)
            check_all(balancer.messages)
            wait_for(lambda: balancer.named("info"))
        last = device.end()
    assert "closed" in failed["state"] or "reset" in failed["state"]
    assert last["connections"] == 2


def test_a_wrong_pin_is_told_as_such(tmp_path):
    (tmp_path / "broker").mkdir()
    with (
        Mosquitto(tmp_path / "broker", tls=False, users={SERIAL: "not it"}) as broker,
        UplinkDevice(str(VM64), tmp_path, port=broker.port) as device,
    ):
        state = device.wait_state("failed")["state"]
        device.end()
    assert "authorised" in state or "PIN" in state
    assert "K7M3XQ9A" not in broker.words()


def test_the_pin_itself_never_travels(plain, tmp_path):
    heard = b""
    with (
        socket.create_server(("127.0.0.1", 0)) as ear,
        UplinkDevice(str(VM64), tmp_path, port=ear.getsockname()[1]),
    ):
        connection, _ = ear.accept()
        while PASSWORD.encode() not in heard:
            heard += connection.recv(4096)
        connection.close()
    assert b"K7M3XQ9A" not in heard


def test_a_device_may_not_speak_for_another(plain, tmp_path):
    with Balancer(plain) as balancer, UplinkDevice(str(VM64), tmp_path, port=plain.port):
        wait_for(lambda: balancer.named("measurement"))
        publish = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(plain.port), "-q", "1"]
        for user, topic in ((SERIAL, "ampguard/AG100099999G/status"), (SERIAL, "elsewhere")):
            subprocess.run(
                [*publish, "-u", user, "-P", PASSWORD, "-t", topic, "-m", "{}"], check=False
            )
        count = len(balancer.named("measurement"))
        wait_for(lambda: len(balancer.named("measurement")) >= count + 2)
        assert {m["topic"].split("/")[1] for m in balancer.messages} == {SERIAL}


# -- TLS: only the 64-bit VM has it; a board has it too

DAY = (-1, 30)


@pytest.fixture
def tls_folder(tmp_path):
    (tmp_path / "broker").mkdir()
    return tmp_path / "broker"


def test_over_tls_the_balancer_hears_the_same(authority, tls_folder, tmp_path):
    authority.issue(tls_folder)
    ca = authority.der(tmp_path / "ca.der")
    with (
        Mosquitto(tls_folder, tls=True) as broker,
        Balancer(broker, tls=True) as balancer,
        UplinkDevice(
            str(VM64),
            tmp_path,
            port=broker.port,
            host=HOST,
            tls=True,
            ca=str(ca),
            hosts={HOST: ["127.0.0.1"]},
        ) as device,
    ):
        wait_for(lambda: len(balancer.named("measurement")) >= 5)
        wait_for(lambda: balancer.named("info"))
        check_all(balancer.messages)
        assert balancer.named("info")[0]["payload"]["tls"] is True
        had = len(device.events)
        broker.stop()
        device.wait_state("failed", after=had)
        broker.start()
        device.wait_state("online", after=had)
        last = device.end()
    assert last["connections"] == 2


BAD_CERTIFICATES = {
    "another CA signed it": (HOST, DAY, "trusted CA"),
    "it is another host's": ("other.example", DAY, "match"),
    "it has expired": (HOST, (-30, -1), "expired"),
    "it is not valid yet": (HOST, (5, 30), "future"),
}


@pytest.mark.parametrize("fault", BAD_CERTIFICATES)
def test_a_certificate_is_refused_and_no_password_sent_when(
    fault, authority, tls_folder, tmp_path
):
    host, days, words = BAD_CERTIFICATES[fault]
    authority.issue(tls_folder, host, days)
    trusted = Authority() if fault == "another CA signed it" else authority
    ca = trusted.der(tmp_path / "ca.der")
    with (
        Mosquitto(tls_folder, tls=True) as broker,
        UplinkDevice(
            str(VM64),
            tmp_path,
            port=broker.port,
            host=HOST,
            tls=True,
            ca=str(ca),
            hosts={HOST: ["127.0.0.1"]},
        ) as device,
    ):
        state = device.wait_state("failed")["state"]
        device.end()
    assert words in state
    assert "New client connected" not in broker.words()


@pytest.mark.parametrize(("ca", "words"), [("nothing", "missing"), ("a PEM file", "DER")])
def test_without_a_ca_nobody_is_trusted(ca, words, authority, tls_folder, tmp_path):
    authority.issue(tls_folder)
    path = tls_folder / ("ca.pem" if ca == "a PEM file" else "missing")
    with (
        Mosquitto(tls_folder, tls=True) as broker,
        UplinkDevice(
            str(VM64),
            tmp_path,
            port=broker.port,
            host=HOST,
            tls=True,
            ca=str(path),
            hosts={HOST: ["127.0.0.1"]},
        ) as device,
    ):
        state = device.wait_state("failed")["state"]
        device.end()
    assert words in state
    assert "New client connected" not in broker.words()


def test_the_32_bit_vm_is_known_to_have_no_tls():
    # Remove the word "only" from the comment above when this fails.
    if VM32:
        done = subprocess.run([VM32, "-c", "import tls"], capture_output=True, check=False)
        assert done.returncode != 0
