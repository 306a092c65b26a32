"""The uplink in a real VM against the real mosquitto, configured as docs/broker.md says."""

import contextlib
import datetime
import hmac
import ipaddress
import json
import re
import signal
import socket
import ssl
import subprocess
import threading
import warnings
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from cloud_bench import ROOT, VM32, VM64, VMS
from cloud_broker import PATIENCE_S, Broker, UplinkDevice, wait_for
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from jsonschema import Draft202012Validator
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions
from programs import program

from sim.ports import free_port

SERIAL = "AG100042317G"
ROOT_TOPIC = f"ampguard/{SERIAL}/"
PASSWORD = hmac.new(b"K7M3XQ9A", f"mqtt:{SERIAL}".encode(), "sha256").hexdigest()
HOST = "broker.example"
USERS = {SERIAL: PASSWORD, "balancer": "b", "homeassistant": "h"}


def documented(name: str) -> str:
    contract = (ROOT / "docs" / "broker.md").read_text()
    return re.search(rf"```conf {re.escape(name)}\n(.*?)```", contract, re.DOTALL)[1]


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
        passwords = folder / "passwords"
        for user, password in (users or USERS).items():
            create = [] if passwords.exists() else ["-c"]
            subprocess.run(
                [program("mosquitto_passwd"), *create, "-b", passwords, user, password],
                check=True,
                capture_output=True,
            )
        self.process = None
        self.start()

    def start(self) -> None:
        self.log = (self.folder / "mosquitto.log").open("ab")
        self.process = subprocess.Popen(
            [program("mosquitto"), "-c", str(self.folder / "mosquitto.conf"), "-v"],
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
    """Hears everything under ampguard/ the way a load balancer does, from when it is made on."""

    def __init__(self, broker: Mosquitto, tls: bool = False):
        self.messages: list[dict] = []
        self._refused: list[object] = []
        self._subscribed = threading.Event()
        self.client = client("balancer", "b", protocol=mqtt.MQTTv5)
        if tls:
            self.client.tls_set(broker.folder / "ca.pem")
            self.client.tls_insecure_set(True)  # its name is for the device's eyes
        self.client.on_connect = self._connected
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._heard
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        assert self._subscribed.wait(PATIENCE_S), self._refused

    def _connected(self, client, _data, _flags, reason, _properties) -> None:
        if reason.is_failure:
            self._refused.append(reason)
        else:
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            client.subscribe("ampguard/#", options=options)

    def _heard(self, _client, _data, heard) -> None:
        self.messages.append(
            {
                "topic": heard.topic,
                "name": heard.topic.removeprefix(ROOT_TOPIC),
                "qos": heard.qos,
                "retain": int(heard.retain),
                "payload": json.loads(heard.payload),
            }
        )

    def hear(self) -> list[dict]:
        return list(self.messages)

    def named(self, name: str) -> list[dict]:
        return [message for message in self.hear() if message["name"] == name]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()


def client(user: str, password: str, **options: object) -> mqtt.Client:
    made = mqtt.Client(CallbackAPIVersion.VERSION2, **options)
    made.username_pw_set(user, password)
    return made


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
    with (
        Balancer(plain) as balancer,
        UplinkDevice(vm, tmp_path, port=plain.port, backlog="b") as device,
    ):
        wait_for(lambda: len(balancer.named("measurement")) >= 5)
        device.order(info={"ip": "192.168.1.99"})
        wait_for(lambda: len(balancer.named("info")) >= 2)
        device.order(records=[1], home_assistant=True)
        wait_for(lambda: balancer.named("event"))
        wait_for(lambda: "homeassistant/device" in plain.words())
        device.order(stop="restart")
        wait_for(lambda: len(balancer.named("status")) >= 2)
        heard = balancer.hear()
    assert "Denied" not in plain.words()
    check_all(heard)
    by_name = {m["name"]: (m["qos"], m["retain"]) for m in heard}
    assert by_name == {
        "measurement": (0, 0), "status": (1, 1), "info": (1, 1), "event": (1, 0)
    }  # fmt: skip
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
        impostor = client(SERIAL, PASSWORD)
        impostor.connect("127.0.0.1", plain.port)
        impostor.loop_start()
        for topic in ("ampguard/AG100099999G/status", "elsewhere"):
            impostor.publish(topic, "{}", qos=1).wait_for_publish(PATIENCE_S)
        impostor.disconnect()
        impostor.loop_stop()
        assert plain.words().count("Denied PUBLISH") == 2
        count = len(balancer.named("measurement"))
        wait_for(lambda: len(balancer.named("measurement")) >= count + 2)
        assert {m["topic"].split("/")[1] for m in balancer.messages} == {SERIAL}


def test_home_assistant_hears_what_it_was_told_and_may_change_nothing(plain, tmp_path):
    heard = {}
    listener = client("homeassistant", "h")
    listener.on_message = lambda _client, _data, message: heard.update({message.topic: message})
    listener.connect("127.0.0.1", plain.port)
    listener.subscribe([("homeassistant/device/+/config", 0), (f"{ROOT_TOPIC}+", 0)])
    listener.loop_start()
    with UplinkDevice(str(VM64), tmp_path, port=plain.port) as device:
        device.order(home_assistant=True)
        config = f"homeassistant/device/{SERIAL}/config"
        wait_for(lambda: config in heard)
        told = json.loads(heard[config].payload)
        wait_for(lambda: {told["stat_t"], told["avty_t"]} <= set(heard))
        listener.publish("homeassistant/status", "online", qos=1).wait_for_publish(PATIENCE_S)
        assert "Denied" not in plain.words()
        listener.publish(f"{ROOT_TOPIC}command", "{}", qos=1).wait_for_publish(PATIENCE_S)
        assert plain.words().count("Denied PUBLISH") == 1
    listener.disconnect()
    listener.loop_stop()


def test_a_device_that_the_acl_does_not_know_is_heard_by_nobody(plain, tmp_path):
    # MQTT 3.1.1 has no way to tell the device: mosquitto acknowledges and throws away.
    plain.stop()
    (plain.folder / "acl").write_text(documented("acl").replace("pattern ", "# pattern "))
    plain.start()
    with Balancer(plain) as balancer, UplinkDevice(str(VM64), tmp_path, port=plain.port) as device:
        device.wait_state("online")
        wait_for(lambda: plain.words().count("Denied PUBLISH") >= 4)
        assert device.end()["connections"] == 1
        assert balancer.hear() == []


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


def test_a_broker_with_an_older_tls_than_1_2_gets_no_password(authority, tmp_path):
    authority.issue(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "broker.pem", tmp_path / "broker.key")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    outcomes = []

    def shakes_hands(connection):
        try:
            context.wrap_socket(connection.sock, server_side=True).recv(1)
            outcomes.append("spoke")
        except ssl.SSLError as error:
            outcomes.append(error.reason)

    with (
        Broker(shakes_hands) as broker,
        UplinkDevice(
            str(VM64),
            tmp_path,
            port=broker.port,
            host=HOST,
            tls=True,
            ca=str(authority.der(tmp_path / "ca.der")),
            hosts={HOST: ["127.0.0.1"]},
        ) as device,
    ):
        device.wait_state("failed")
        wait_for(lambda: outcomes)
        device.end()
    assert "PROTOCOL" in outcomes[0]


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


@pytest.mark.parametrize(("ca", "words"), [("nothing", "trusted CA"), ("a PEM file", "DER")])
def test_without_the_providers_ca_the_provider_is_not_trusted(
    ca, words, authority, tls_folder, tmp_path
):
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
