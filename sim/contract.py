"""Whether what a device publishes is what docs/protocol.md promises: topic, QoS, retain, and the
JSON Schema in docs/schema.

In: messages. Out: one line for each that breaks the contract.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

try:
    from jsonschema import Draft202012Validator
except ModuleNotFoundError:  # a set-up without what the tests need
    Draft202012Validator = None

from sim.message import Message

SCHEMAS = Path(__file__).resolve().parent.parent / "docs" / "schema"
_QOS = {"measurement": 0}  # all others: 1
_RETAINED = ("status", "info")
_NOT_THE_DEVICES = ("command",)  # whoever sends it: the device judges it


@cache
def _validators() -> dict[str, Any]:
    if Draft202012Validator is None:
        return {}
    return {
        path.stem: Draft202012Validator(json.loads(path.read_text()))
        for path in SCHEMAS.glob("*.json")
    }


class Contract:
    """`root`: of the device's topics, without the last slash. `checked` counts."""

    def __init__(self, root: str) -> None:
        self._root = f"{root}/"
        self.checked = 0

    def fault(self, message: Message) -> str:
        """What is wrong with it, or nothing."""
        if not message.topic.startswith(self._root) or not _validators():
            return ""
        name = message.topic.removeprefix(self._root)
        if name in _NOT_THE_DEVICES:
            return ""
        self.checked += 1
        if name not in _validators():
            return f"{name}: no topic of the contract"
        if message.qos != _QOS.get(name, 1):
            return f"{name}: sent with QoS {message.qos}"
        if message.retain and name not in _RETAINED:
            return f"{name}: sent as retained"
        error = next(_validators()[name].iter_errors(message.payload), None)
        if error is None:
            return ""
        where = "".join(f"[{part!r}]" for part in error.absolute_path)
        return f"{name}{where}: {error.message[:200]}"
