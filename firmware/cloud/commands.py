"""What a balancer may ask of the device, and the answer: every command is answered, and one that
is not sound in every respect changes nothing.

In: the payload of a `command`. Out: the payload of the `response`. `actions` are what others do
on request: a name leads to a function of the command's arguments that returns the result.
"""

import json

from micropython import const

from cloud import strict_json

_ID_LENGTH = const(64)
_ERROR_LENGTH = const(240)
_LOG_LENGTH = const(2000)  # characters of an answer to `log`: it exists three times on the heap
_REMEMBERED = const(16)  # ids: a broker may deliver a command twice
_MAY_SET = ("supply_max_a", "step_a", "interval_s", "phases", "wiring", "home_assistant")

# What each command takes: name -> (least, most). `set` has the settings' rules.
_ARGUMENTS = {
    "ping": {},
    "report": {},
    "set": {},
    "capture": {},
    "log": {"lines": (1, 40), "all": (False, True)},
    "restart": {},
    "update": None,  # checks them itself
    "identify": {"seconds": (1, 600)},
}


class Commands:
    def __init__(self, settings, log, actions, answered=None):
        """`actions`: {"report": f(), "capture": f(), "restart": f(), "identify": f(seconds=10)};
        a missing one makes a command this device does not have. "applied": f(), called after a
        `set`, returns what belongs to its result. `answered`: ids of commands obeyed before."""
        self._settings = settings
        self._log = log
        self._actions = actions
        self._answered = [] if answered is None else answered
        self.obeyed = None  # id of the command being obeyed

    def answer(self, payload, retained=False):
        """`payload`: bytes, or (its first ones, their number) if it was longer than the device
        takes. Returns the response, None if there will be one later."""
        name = None
        try:
            if type(payload) is tuple:
                name = _id_within(payload[0])
                raise ValueError(
                    "the command is too long: %d bytes, expected 1000 at most" % payload[1]
                )
            name = _id_within(payload)  # of one that is no JSON; else the real one follows
            command = _parse(payload)
            name = None
            name = _check_id(command)
            _check_form(command)
            if retained:
                raise ValueError("the command is retained: it would be obeyed at every connection")
            if name in self._answered:
                raise ValueError("id %s was answered before" % name)
            self.obeyed = name
            result = self._obey(command)
            self._remember(name)  # only what was obeyed: what was refused may be refused again
            if result is None:  # it is answered later, by what obeys it
                return None
        except ValueError as fault:
            return '{"v":1,"id":%s,"ok":false,"error":%s}' % (
                json.dumps(name),
                json.dumps(str(fault)[:_ERROR_LENGTH]),
            )
        return '{"v":1,"id":%s,"ok":true,"result":%s}' % (json.dumps(name), json.dumps(result))

    def _remember(self, name):
        self._answered.append(name)
        if len(self._answered) > _REMEMBERED:
            self._answered.pop(0)

    def _obey(self, command):
        do = command["do"]
        arguments = {}
        for name, value in command.items():
            if name not in ("v", "id", "do"):
                arguments[name] = value
        if do == "set":
            return self._set(arguments)
        _check_arguments(do, arguments)
        self._log.info("cloud", "command " + do)
        if do == "ping":
            return {}
        if do == "log" and not arguments.pop("all", False):
            from device import log_lines  # noqa: PLC0415 (rarely needed)

            return log_lines.last(self._log, _LOG_LENGTH)[-arguments.get("lines", 10) :]
        if do not in self._actions:
            raise ValueError("%s is not something this device can do" % do)
        return self._actions[do](**arguments)

    def _set(self, arguments):
        if not arguments:
            raise ValueError("nothing to set, expected one of " + ", ".join(_MAY_SET))
        for name in arguments:
            if name not in _MAY_SET:
                raise ValueError(
                    "%s may not be set, expected one of %s" % (name, ", ".join(_MAY_SET))
                )
        try:
            self._settings.update(**arguments)
        except OSError as fault:
            raise ValueError("the settings could not be stored (error %s)" % fault.errno)
        self._log.info("cloud", "command set " + json.dumps(arguments))
        result = {name: self._settings.get(name) for name in arguments}
        if "applied" in self._actions:
            result.update(self._actions["applied"]())
        return result


def _parse(payload):
    try:
        command = strict_json.loads(payload.decode())
    except ValueError:
        raise ValueError("the command is not JSON")
    except KeyError:
        raise ValueError("the command has a name twice")
    if type(command) is not dict:
        raise ValueError("the command is no object")
    return command


def _id_within(payload):
    """The id in what can't be read, so that its sender knows what was refused; or None."""
    at = payload.find(b'"id"')
    rest = payload[at + 4 :].strip()
    if at < 0 or rest[:1] != b":":
        return None
    rest = rest[1:].strip()
    end = rest.find(b'"', 1)
    name = rest[1:end]
    if rest[:1] != b'"' or not 1 <= len(name) <= _ID_LENGTH or end < 0 or b"\\" in name:
        return None
    try:
        name = name.decode()
    except ValueError:
        return None
    return name if min(name) >= " " else None


def _check_id(command):
    """Returns the id. Whoever sent something else gets `null` for it."""
    name = command.get("id")
    if type(name) is not str or not 1 <= len(name.encode()) <= _ID_LENGTH:
        raise ValueError("id is missing or no text of 1 to %d bytes" % _ID_LENGTH)
    return name


def _check_form(command):
    if type(command.get("v")) is not int or command["v"] != 1:
        raise ValueError("v is %s, expected 1" % json.dumps(command.get("v")))
    if type(command.get("do")) is not str or command["do"] not in _ARGUMENTS:
        raise ValueError(
            "do is %s, expected one of %s"
            % (json.dumps(command.get("do"))[:_ID_LENGTH], ", ".join(sorted(_ARGUMENTS)))
        )


def _check_arguments(do, arguments):
    rules = _ARGUMENTS[do]
    if rules is None:
        return
    for name, value in arguments.items():
        if name not in rules:
            raise ValueError("%s takes no %s" % (do, name[:_ID_LENGTH]))
        least, most = rules[name]
        kind = type(least)  # int or bool
        if type(value) is not kind or not least <= value <= most:
            expected = "true or false"
            if kind is int:
                expected = "a whole number from %d to %d" % (least, most)
            raise ValueError(
                "%s is %s, expected %s" % (name, json.dumps(value)[:_ID_LENGTH], expected)
            )
