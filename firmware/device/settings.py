"""What the owner may change: checked when read, checked when changed, safe against power cuts.

In: a path, the defaults that depend on this device, update(name=value). Out: attributes.
Only what was changed is stored, so that a better default reaches devices in the field.
"""

from device.storage import Record
from device.unloading import unload

_RULES = ("device.settings_rules", "device.identity")


class Settings:
    """Every setting is an attribute. `problems` says in words what could not be used."""

    def __init__(self, path, defaults=None):
        from device import settings_rules  # noqa: PLC0415 (let go of at once)

        self.problems = []
        self._values = settings_rules.defaults()
        for name, value in (defaults or {}).items():
            settings_rules.check(name, value)
            self._values[name] = value
        self._record = Record(path)
        self._stored = self._record.load() or {}
        if self._record.problem:
            self.problems.append(self._record.problem)
        for name, value in self._stored.items():
            if name in self._values:  # what a newer version stored is kept, not judged
                try:
                    settings_rules.check(name, value)
                    self._values[name] = value
                except ValueError as fault:
                    self.problems.append("%s; the default is used" % fault)
        del settings_rules
        unload(*_RULES)

    def __getattr__(self, name):
        # Only called for what is no plain attribute.
        if name != "_values" and name in self._values:
            return self._values[name]
        raise AttributeError(name)

    def get(self, name):
        return self._values[name]

    def names(self):
        return sorted(self._values)

    def update(self, **changes):
        """Stores all, or after a ValueError or OSError none. Returns the names changed."""
        from device import settings_rules  # noqa: PLC0415 (let go of at once)

        try:
            for name, value in changes.items():
                settings_rules.check(name, value)
        finally:
            del settings_rules
            unload(*_RULES)
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
