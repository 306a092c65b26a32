"""The whole device over TLS, against the broker of docs/broker.md as it stands."""

import json
from pathlib import Path

import test_cloud_mosquitto as broker_room
from test_cloud_mosquitto import Authority, Balancer, Mosquitto
from test_commands_device import installed
from whole_device import WholeDevice

from sim.options import parse
from tools.simulate import factory_file, plant_for


def test_a_device_with_the_providers_certificate_speaks_tls_from_the_first_start(
    tmp_path: Path,
) -> None:
    authority = Authority()
    folder, flash = tmp_path / "broker", tmp_path / "flash"
    folder.mkdir()
    flash.mkdir()
    authority.issue(folder, "broker.lan")
    authority.der(flash / "ca.der")
    options = parse([])
    factory = factory_file(options, plant_for(options, None), tls=True)
    (flash / "factory.json").write_text(json.dumps(factory))
    with (
        Mosquitto(folder, tls=True) as broker,
        Balancer(broker, tls=True) as balancer,
        # The simulator's own subscriber speaks no TLS and finds nobody; the balancer listens.
        WholeDevice(*installed(flash), f"--broker=127.0.0.1:{broker.port}") as device,
    ):
        broker_room.wait_for(lambda: len(balancer.named("measurement")) >= 3)
        broker_room.wait_for(lambda: balancer.named("info"))
        heard = balancer.hear()
        words = list(device.words)
    broker_room.check_all(heard)
    assert balancer.named("info")[0]["payload"]["tls"] is True
    assert not [line for line in words if "MemoryError" in line]
