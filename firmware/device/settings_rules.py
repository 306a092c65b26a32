"""What each setting may be. Loaded at start and for a change; nobody needs it in between.

In: a name and a value. Out: ValueError in words, or nothing.
"""

import json

from device.identity import check_provider


def _text(least, most, ascii_only=False):
    def check(value):
        if type(value) is not str:
            raise ValueError("expected text")
        size = len(value) if ascii_only else len(value.encode())
        if not least <= size <= most:
            raise ValueError("expected %d to %d characters" % (least, most))
        for letter in value:
            if letter < " " or letter == "\x7f" or (ascii_only and letter > "~"):
                raise ValueError("expected printable characters")

    return check


def _whole(least, most):
    def check(value):
        if type(value) is not int or not least <= value <= most:
            raise ValueError("expected a whole number from %d to %d" % (least, most))

    return check


def _one_of(*allowed):
    def check(value):
        if type(value) not in (int, str) or value not in allowed:
            raise ValueError("expected one of " + ", ".join(str(item) for item in allowed))

    return check


def _wiring(value):
    if type(value) is not dict or not set(value) <= {"clamps", "export", "voltages"}:
        raise ValueError("expected any of clamps, export and voltages, nothing else")
    if "clamps" in value:
        clamps = value["clamps"]
        seen = []
        if type(clamps) is list:
            seen = [grip[-2:] for grip in clamps if type(grip) is str and grip[:-2] in ("", "-")]
        if type(clamps) is not list or len(clamps) != 3 or sorted(seen) != ["L1", "L2", "L3"]:
            raise ValueError('expected clamps on "L1", "L2", "L3" in any order, "-L2" = turned')
    if type(value.get("export", False)) is not bool:
        raise ValueError("expected true or false for export")
    if type(value.get("voltages", 1)) is not int or value.get("voltages", 1) not in (1, 3):
        raise ValueError("expected 1 or 3 for voltages")


def _flag(value):
    if type(value) is not bool:
        raise ValueError("expected true or false")


# name: (default, check, may it be None = not set, may its value be shown)
_SETTINGS = {
    "wifi_ssid": (None, _text(1, 32), True, True),
    "wifi_password": ("", _text(0, 30, ascii_only=True), False, False),
    "provider": (None, check_provider, True, True),
    "interval_s": (1, _whole(1, 60), False, True),  # between measurements sent
    "supply_max_a": (None, _whole(6, 400), True, True),  # the main fuse, A per phase
    "phases": (3, _one_of(1, 3), False, True),
    "wiring": (None, _wiring, True, True),  # which clamp is where, confirmed by a person
    "home_assistant": (False, _flag, False, True),  # announce the values to Home Assistant
    "step_a": (2, _whole(1, 400), False, True),  # a jump of this many A is sent at once
}


def defaults():
    return {name: rule[0] for name, rule in _SETTINGS.items()}


def check(name, value):
    if name not in _SETTINGS:
        raise ValueError("%s is no setting, expected one of %s" % (name, ", ".join(_SETTINGS)))
    _, sound, optional, shown = _SETTINGS[name]
    if value is None and optional:
        return
    try:
        sound(value)
    except ValueError as fault:
        raise ValueError(
            "%s is %s: %s" % (name, json.dumps(value) if shown else "not valid", fault)
        )
