"""A host with updates is called by the rules that hold for the broker: verified TLS, or plain text
at home. The uplink's own dial(), with a socket and an ssl that note what is asked of them."""

import json

import pytest
from cloud_bench import VMS, run_on_vm

DIAL = """
import json, time
from expect import Part
from cloud.uplink import Uplink
from cloud.faults import Fault

asked = {}

class Socket:
    def connect(self, address):
        asked["connected"] = address
    def settimeout(self, seconds):
        pass
    close = settimeout

class Context:
    verify_mode = None
    def load_verify_locations(self, cadata):
        asked["trusted"] = cadata.decode()
    def wrap_socket(self, raw, server_hostname, do_handshake_on_connect):
        asked["verified"] = [self.verify_mode, server_hostname]
        return raw

net = Part(socket=Socket, getaddrinfo=lambda host, port: [(2, 1, 0, host, (ADDRESS, port))])
tls = Part(PROTOCOL_TLS_CLIENT=1, CERT_REQUIRED=2, SSLContext=lambda kind: Context())
clock = Part(is_set=SET, knows_servers=True, due=lambda: False, problem="no time server")
with open("ca.der", "w") as file:
    file.write("the provider's")
parts = {name: None for name in ("queue", "settings", "link", "info", "log")}
uplink = Uplink(identity=Part(serial="x"), clock=clock, socket=net, ssl=tls, time=time,
                ca_path="ca.der", **parts)
try:
    uplink.dial(TLS, "updates.example", 443)
except Fault as fault:
    asked["fault"] = str(fault)
print(json.dumps(asked))
"""


@pytest.fixture(params=VMS)
def dialled(request, tmp_path):
    def dial(tls: bool, address: str, time_is_set: bool = True) -> dict:
        given = f"TLS, ADDRESS, SET = {tls}, {address!r}, {time_is_set}\n"
        return json.loads(run_on_vm(request.param, given + DIAL, cwd=tmp_path))

    return dial


def test_over_tls_the_host_must_prove_its_name_to_the_providers_certificate(dialled):
    asked = dialled(True, "203.0.113.7")
    assert asked == {
        "trusted": "the provider's",
        "verified": [2, "updates.example"],
        "connected": ["203.0.113.7", 443],
    }


def test_without_the_time_no_certificate_is_believed(dialled):
    asked = dialled(True, "203.0.113.7", time_is_set=False)
    assert "the time is not known" in asked["fault"]
    assert "connected" not in asked


def test_plain_text_goes_to_a_private_address_only(dialled):
    assert dialled(False, "192.168.1.9") == {"connected": ["192.168.1.9", 443]}
    asked = dialled(False, "203.0.113.7")
    assert "plain text is refused" in asked["fault"]
    assert "connected" not in asked
