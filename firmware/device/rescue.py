"""What a damaged /factory.json still says, for safe mode: each field by itself.

In: the path. Out: an Identity whose serial, pin, variant, phases, provider and calibration are
None where they are not sound. What is no JSON any more is searched for its texts: one that keeps
the factory's rules is what the factory wrote.
"""

import json

from device.identity import Identity, check_pin, check_provider, check_serial


def identity(path):
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        data = b""
    try:
        factory = json.loads(data.decode())
    except ValueError:
        factory = {name: _text(data, name) for name in ("serial", "pin", "variant")}
    if type(factory) is not dict:
        factory = {}
    who = Identity()
    who.serial = _sound(check_serial, factory.get("serial"))
    who.pin = _sound(check_pin, factory.get("pin"))
    who.provider = _sound(check_provider, factory.get("provider"))
    who.variant = _one_of(("home", "public"), factory.get("variant"))
    who.phases = _one_of((1, 3), factory.get("phases"))
    who.calibration = factory.get("calibration")
    who.digits = who.serial[-6:-1] if who.serial else "unknown"
    who.ssid = "Amp Guard_" + who.digits
    return who


def _sound(check, value):
    try:
        return check(value)
    except ValueError:
        return None


def _one_of(values, value):
    return value if type(value) is type(values[0]) and value in values else None


def _text(data, name):
    """The text behind `"name":`, or None."""
    _, found, rest = data.partition(b'"%s"' % name.encode())
    colon, _, rest = rest.partition(b'"')
    value, end, _ = rest.partition(b'"')
    if not found or colon.strip() != b":" or not end:
        return None
    try:
        return value.decode()
    except ValueError:
        return None
