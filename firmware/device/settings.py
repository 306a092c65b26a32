"""What the owner may change: checked when read, checked when changed, safe against power cuts.

In: a path, the defaults that depend on this device, update(name=value). Out: attributes.
Only what was changed is stored, so that a better default reaches devices in the field.
"""

from device.identity import check_provider
from device.storage import Record


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
    if type(value) is not dict or not set(value) <= {"clamps", "export"}:
        raise ValueError("expected clamps and perhaps export, nothing else")
    clamps = value.get("clamps")
    seen = []
    if type(clamps) is list:
        seen = [grip[-2:] for grip in clamps if type(grip) is str and grip[:-2] in ("", "-")]
    if type(clamps) is not list or len(clamps) != 3 or sorted(seen) != ["L1", "L2", "L3"]:
        raise ValueError('expected clamps on "L1", "L2", "L3" in any order, "-L2" = turned round')
    if type(value.get("export", False)) is not bool:
        raise ValueError("expected true or false for export")


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


class Settings:
    """Every setting is an attribute. `problems` says in words what could not be used."""

    def __init__(self, path, defaults=None):
        self.problems = []
        self._defaults = {name: rule[0] for name, rule in _SETTINGS.items()}
        for name, value in (defaults or {}).items():
            _check(name, value)
            self._defaults[name] = value
        self._record = Record(path)
        self._stored = self._record.load() or {}
        if self._record.problem:
            self.problems.append(self._record.problem)
        self._values = dict(self._defaults)
        for name, value in self._stored.items():
            if name in _SETTINGS:  # what a newer version stored is kept, not judged
                try:
                    _check(name, value)
                    self._values[name] = value
                except ValueError as fault:
                    self.problems.append("%s; the default is used" % fault)

    def __getattr__(self, name):
        # Only called for what is no plain attribute.
        if name in _SETTINGS:
            return self._values[name]
        raise AttributeError(name)

    def get(self, name):
        return self._values[name]

    def names(self):
        return sorted(_SETTINGS)

    def update(self, **changes):
        """Stores all, or after a ValueError or OSError none. Returns the names changed."""
        for name, value in changes.items():
            _check(name, value)
        changed = [name for name in changes if changes[name] != self._values[name]]
        if not changed:
            return changed
        stored = dict(self._stored)
        values = dict(self._values)
        for name in changed:
            stored[name] = values[name] = changes[name]
        self._record.save(stored)
        self._stored = stored
        self._values = values
        return changed


def _check(name, value):
    if name not in _SETTINGS:
        raise ValueError("%s is no setting, expected one of %s" % (name, ", ".join(_SETTINGS)))
    _, check, optional, shown = _SETTINGS[name]
    if value is None and optional:
        return
    try:
        check(value)
    except ValueError as fault:
        raise ValueError("%s is %s: %s" % (name, repr(value) if shown else "not valid", fault))
