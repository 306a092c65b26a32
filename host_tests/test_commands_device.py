"""Commands to the whole device, as a load balancer sends them: through the broker."""

import base64
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comtrade
import numpy as np
import paho.mqtt.client as mqtt
import pytest
from whole_device import WholeDevice

from cloud.password import mqtt_password
from device.storage import Record
from sim.air import BUILDING
from sim.options import DEFAULT_PIN, DEFAULT_SERIAL

pytestmark = pytest.mark.whole_device


def installed(folder: Path) -> tuple[str, ...]:
    """Options for a device that knows the building's Wi-Fi: its access point stays closed."""
    network = {"wifi_ssid": BUILDING.ssid, "wifi_password": BUILDING.password}
    Record(str(folder / "settings")).save(network)
    return "--no-provision", "--state", str(folder)


class Balancer:
    def __init__(self, device: WholeDevice) -> None:
        self.device = device
        self._ids = itertools.count()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)

    def __enter__(self) -> "Balancer":
        self._client.connect(*self.device.broker)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, do: str, **arguments: Any) -> str:
        name = f"b{next(self._ids)}"
        command = json.dumps({"v": 1, "id": name, "do": do, **arguments})
        self._client.publish(self.device.root + "command", command, 1).wait_for_publish(5)
        return name

    def ask(self, do: str, **arguments: Any) -> Any:
        """The payload of the response."""
        name = self.send(do, **arguments)
        return self.device.until("response", lambda p: p["id"] == name)["payload"]

    def pieces(self, name: str) -> Iterator[Any]:
        """The results of all responses to a command that is answered in pieces."""
        for number in itertools.count():
            response = self.device.until(
                "response",
                lambda p, n=number: p["id"] == name and (not p["ok"] or p["result"]["piece"] == n),
            )["payload"]
            assert response["ok"], response
            yield response["result"]
            if not response["result"]["more"]:
                return


def test_a_balancer_asks_sets_and_restarts_the_device(tmp_path: Path) -> None:
    with (
        WholeDevice("--load=10,10,10", *installed(tmp_path)) as device,
        Balancer(device) as balancer,
    ):
        device.until("measurement", lambda p: p["cov"] > 0.9 and p["ts"])
        assert balancer.ask("ping")["result"] == {}
        assert balancer.ask("identify", seconds=1)["result"] == {"seconds": 1}
        assert any("command ping" in line for line in balancer.ask("log")["result"])
        whole = "".join(r.get("text", "") for r in balancer.pieces(balancer.send("log", all=True)))
        assert " I device: AG100042317G " in whole.splitlines()[0]
        assert whole.splitlines()[-1].endswith("I cloud: command log")
        assert "expected a whole number" in balancer.ask("set", interval_s=90)["error"]

        told = balancer.ask("set", interval_s=30, step_a=20, phases=1)["result"]
        assert told == {"interval_s": 30, "step_a": 20, "phases": 1, "restart_needed": True}
        since = len(device.lines)
        device.put("/plant", {"i": [25, 10, 10]})  # 15 A: no step any more
        time.sleep(2.5)
        device.put("/plant", {"i": [45, 10, 10]})
        line = device.until("measurement", lambda p: p["i"][0] >= 29.5, since=since)
        heard = [m for m in device.topic("measurement") if m in device.lines[since:]]
        assert heard[0] is line, heard  # nothing since the interval was set

        since = len(device.lines)
        assert balancer.ask("restart")["ok"]
        device.until("info", lambda p: p["phases"] == 1 and p["boot_count"] > 1, since=since)
        goodbye = device.until("status", lambda p: not p["online"], since=since)["payload"]
        assert goodbye["reason"] == "restart"
        assert device.topic("info")[0]["payload"]["phases"] == 3
        told = json.dumps(device.lines) + "".join(device.said("device"))
    password = mqtt_password(DEFAULT_PIN, DEFAULT_SERIAL)
    for secret in (DEFAULT_PIN, BUILDING.password, password):
        assert secret not in told
    assert not [line for line in device.words if "MemoryError" in line]


@pytest.mark.quiet
def test_the_wave_can_be_seen_from_afar_and_metering_goes_on(tmp_path: Path) -> None:
    with (
        WholeDevice("--load=16,10,6", *installed(tmp_path)) as device,
        Balancer(device) as balancer,
    ):
        device.until("measurement", lambda p: p["ts"])
        device.put("/plant", {"harmonics": {"i": {"3": 0.3}}})
        device.put("/plant", {"i": [20, 10, 6]})
        device.until("measurement", lambda p: p["i"][0] > 19.9)
        since = len(device.lines)
        began = time.time()
        results = list(balancer.pieces(balancer.send("capture")))
        took = time.time() - began
        covered = [p["cov"] for p in device.measurements[-int(took) :]]
        assert balancer.ask("ping")["ok"]
        between = [line for line in device.lines[since:] if line["topic"].endswith("measurement")]
    assert len(between) >= int(took) - 1
    assert sum(covered) / len(covered) >= 0.9
    record = tmp_path / "wave.cfg"
    record.write_text(results[-1]["cfg"], newline="")
    record.with_suffix(".dat").write_bytes(
        b"".join(base64.b64decode(result["dat"]) for result in results[:-1])
    )
    wave = comtrade.load(str(record))
    assert wave.analog_channel_ids == ["I1", "I2", "I3", "U1", "U2", "U3"]
    assert abs(wave.start_timestamp.timestamp() - began) < 86400
    times = np.array(wave.time)
    assert (np.diff(times) > 0).all()
    # One second of whole cycles of 50 Hz, each evenly sampled.
    spacing = np.median(np.diff(times))
    assert wave.total_samples * spacing == pytest.approx(1, abs=0.03)
    values = np.array(wave.analog)
    rms = np.sqrt((values**2).mean(axis=1))
    assert rms == pytest.approx([20, 10, 6, 230, 230, 230], rel=0.02)
    # Bursts of whole cycles: what a fit of one sine leaves of I1 is its third harmonic.
    first = times < 0.019
    angle = 2 * np.pi * 50 * times[first]
    base = np.stack([np.sin(n * angle) for n in (1, 3)] + [np.cos(n * angle) for n in (1, 3)])
    fit, *_ = np.linalg.lstsq(base.T, values[0][first], rcond=None)
    assert np.hypot(fit[1], fit[3]) / np.hypot(fit[0], fit[2]) == pytest.approx(0.3, abs=0.02)
