"""/factory.json: who a board is. Made here, judged by the firmware's own device/identity.py.

`merge(found, given, mac)` gives the identity to write; `fault(identity)` what the device would
say of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import secrets
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from shipping.firmware import FIRMWARE

Identity = dict[str, Any]

# A person types it from a label: nothing that looks like something else. 26 ** 8 is 37 bits.
PIN_ALPHABET = "ACDEFGHJKLMNPQRTUVWXY34679"
PIN_LENGTH = 8

DEFAULTS: Identity = {
    "v": 1,
    "variant": "home",
    "phases": 3,
    "provider": {"host": "broker.lan", "port": 1883, "tls": False},
}


def new_pin() -> str:
    """A PIN out of the operating system's randomness."""
    return "".join(secrets.choice(PIN_ALPHABET) for _ in range(PIN_LENGTH))


def development_serial(mac: bytes) -> str:
    """For a board that got no serial from a factory: always the same for the same board."""
    return f"DEV-{mac.hex().upper()}-{int.from_bytes(mac, 'big') % 100000:05}G"[:24]


def ssid(identity: Identity) -> str:
    """The name of the device's access point."""
    return f"Amp Guard_{identity['serial'][-6:-1]}"


def merge(found: Identity, given: Identity, mac: bytes) -> Identity:
    """What is given, else what was found, else the defaults and a PIN of its own."""
    known = DEFAULTS | found | given
    return known | {
        "serial": known.get("serial") or development_serial(mac),
        "pin": known.get("pin") or new_pin(),
    }


def fault(identity: Identity) -> str | None:
    """What the firmware would refuse, in its words; None if it takes this identity."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "factory.json"
        path.write_text(json.dumps(identity))
        try:
            _firmwares().load(str(path))
        except ValueError as error:
            return str(error).replace(f"{path}: ", "")
    return None


@cache
def _firmwares() -> ModuleType:
    path = FIRMWARE / "device" / "identity.py"
    spec = importlib.util.spec_from_file_location("ampguard_identity", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings(**changes: object) -> bytes:
    """The content of /settings with these changes, judged and written by the firmware's own code.
    ValueError says what is wrong."""
    if str(FIRMWARE) not in sys.path:
        sys.path.append(str(FIRMWARE))
    module = importlib.import_module("device.settings")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "settings")
        module.Settings(str(path)).update(**changes)
        return path.read_bytes()
