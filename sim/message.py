"""One MQTT message as its publisher sent it, and the line that says so to other programs."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """`t` is host time in Unix seconds; `qos` and `retain` are the publisher's."""

    t: float
    topic: str
    data: bytes
    qos: int
    retain: bool

    @property
    def payload(self) -> Any:
        """What the bytes say: parsed when they are JSON, else as text."""
        text = self.data.decode("utf-8", "replace")
        try:
            return json.loads(text)
        except ValueError:
            return text

    def line(self) -> str:
        """The message as one line of JSON."""
        return json.dumps(
            {
                "t": round(self.t, 3),
                "topic": self.topic,
                "payload": self.payload,
                "qos": self.qos,
                "retain": self.retain,
            },
            ensure_ascii=False,
        )
