"""Who this device is: what the factory wrote to /factory.json, checked once at start, and let go.

In: the path. Out: an Identity. A device without a sound identity must not run: it would
open an access point nobody can join and report under somebody else's name.
"""

import json

_VARIANTS = {"home": 100, "public": 400}  # upper end of the current range, A


class Identity:
    """serial, pin, variant, phases, provider (dict), calibration (dict or None); and derived:
    digits (the last five of the serial), ssid of the access point, range_a. No methods: they
    would hold this module, which nobody needs after the start."""

    serial: str
    pin: str
    variant: str
    phases: int
    provider: dict
    calibration: "dict | None"
    digits: str
    ssid: str
    range_a: int


def load(path):
    """Reads and checks the factory file. ValueError says what is wrong and what is expected."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        raise ValueError("%s is missing: the flash tool writes it" % path)
    try:
        factory = json.loads(data.decode())
    except ValueError:
        raise ValueError("%s is not JSON" % path)
    if type(factory) is not dict:
        raise ValueError("%s holds no object" % path)
    if factory.get("v") != 1:
        raise ValueError("%s: v is %r, expected 1" % (path, factory.get("v")))
    variant = factory.get("variant")
    if type(variant) is not str or variant not in _VARIANTS:
        raise ValueError("%s: variant is %r, expected 'home' or 'public'" % (path, variant))
    phases = factory.get("phases")
    if type(phases) is not int or phases not in (1, 3):
        raise ValueError("%s: phases is %r, expected 1 or 3" % (path, phases))
    try:
        serial = check_serial(factory.get("serial"))
        pin = check_pin(factory.get("pin"))
        provider = check_provider(factory.get("provider"))
    except ValueError as fault:
        raise ValueError("%s: %s" % (path, fault))
    calibration = factory.get("calibration")
    if calibration is not None and type(calibration) is not dict:
        raise ValueError("%s: calibration is no object" % path)
    identity = Identity()
    identity.serial = serial
    identity.pin = pin
    identity.variant = variant
    identity.phases = phases
    identity.provider = provider
    identity.calibration = calibration
    identity.digits = serial[-6:-1]
    identity.ssid = "Amp Guard_" + identity.digits
    identity.range_a = _VARIANTS[variant]
    return identity


def check_serial(serial):
    """1-24 characters of A-Z, 0-9 and -, the last six of them five digits and G."""
    if type(serial) is not str or not 6 <= len(serial) <= 24:
        raise ValueError("serial is %r, expected 6 to 24 characters" % (serial,))
    for letter in serial:
        if not ("A" <= letter <= "Z" or "0" <= letter <= "9" or letter == "-"):
            raise ValueError("serial is %r, expected only A-Z, 0-9 and -" % serial)
    digits = serial[-6:-1]
    if serial[-1] != "G" or not all("0" <= d <= "9" for d in digits):
        raise ValueError("serial is %r, expected it to end in five digits and G" % serial)
    return serial


def check_pin(pin):
    """Eight printable ASCII characters. The PIN itself is never part of a message."""
    if type(pin) is not str or len(pin) != 8 or not all(" " < letter <= "~" for letter in pin):
        raise ValueError("pin is not eight printable ASCII characters")
    return pin


def check_provider(provider):
    """{"host", "port", "tls"}: where the measurements go. Further keys are kept."""
    if type(provider) is not dict:
        raise ValueError("provider is %r, expected an object with host, port, tls" % (provider,))
    host = provider.get("host")
    if type(host) is not str or not 1 <= len(host) <= 253:
        raise ValueError("provider host is %r, expected a name or an address" % (host,))
    for letter in host:
        if not (letter.isalpha() or letter.isdigit() or letter in "-._") or ord(letter) > 126:
            raise ValueError("provider host is %r, expected a name or an address" % host)
    port = provider.get("port")
    if type(port) is not int or not 1 <= port <= 65535:
        raise ValueError("provider port is %r, expected 1 to 65535" % (port,))
    if type(provider.get("tls")) is not bool:
        raise ValueError("provider tls is %r, expected true or false" % (provider.get("tls"),))
    return provider
