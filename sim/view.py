"""What people see: a live screen on a terminal, plain lines anywhere else. Always on stderr.

In: lines with who says them, messages, and the story of the device. The screen fits 80 by 24.
"""

import sys
import time
from collections import deque
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sim.message import Message
from sim.options import RANGE_A, Options
from sim.story import Story

_CONSOLE_LINES_S = 5  # of the device's console; the rest is counted
_CONSOLE_BURST = 20
_PHASES = ("L1", "L2", "L3")


class View:
    """Plain lines: `simulate: ...`, `installer: ...`, `device: ...`, `broker: ...`."""

    def __init__(
        self, options: Options, story: Story, out: TextIO = sys.stderr, messages: bool = True
    ) -> None:
        self._options = options
        self._story = story
        self._out = out
        self._show_messages = messages
        self._allowed = float(_CONSOLE_BURST)
        self._allowed_at = time.monotonic()
        self._unshown = 0
        self.broker = ""

    def __enter__(self) -> "View":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, who: str, words: str) -> None:
        """One line, whoever speaks."""
        self._line(f"{who}: {words}")

    def console(self, line: str) -> None:
        """A line of the device's own console, if there is room for it."""
        now = time.monotonic()
        self._allowed += (now - self._allowed_at) * _CONSOLE_LINES_S
        self._allowed = min(self._allowed, _CONSOLE_BURST)
        self._allowed_at = now
        if self._allowed < 1:
            self._unshown += 1
            return
        self._allowed -= 1
        if self._unshown:
            self.say("device", f"... {self._unshown} lines not shown")
            self._unshown = 0
        self.say("device", line)

    def message(self, m: Message) -> None:
        """A message that reached the broker."""
        if self._show_messages:
            self._line(f"broker: {summary(m, self._options.serial)}")

    def refresh(self) -> None:
        """Called several times a second."""

    def _line(self, words: str) -> None:
        print("".join(c if c.isprintable() else "?" for c in words), file=self._out, flush=True)


class Screen(View):
    """The same on a terminal, in place."""

    def __init__(self, options: Options, story: Story, console: Console) -> None:
        super().__init__(options, story)
        self._lines: deque[str] = deque(maxlen=7)
        self._messages: deque[str] = deque(maxlen=4)
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> "Screen":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _line(self, words: str) -> None:
        self._lines.append(words)

    def message(self, m: Message) -> None:
        if not m.topic.endswith("/measurement"):
            words = summary(m, self._options.serial)
            self._messages.append(f"{time.strftime('%H:%M:%S', time.localtime(m.t))} {words}")

    def refresh(self) -> None:
        self._live.update(self.render(time.time()), refresh=True)

    def render(self, t: float) -> Group:
        """The whole screen at host time `t`."""
        o, story = self._options, self._story
        clamps = f"{RANGE_A[o.variant]} A clamps, {o.phases} phase{'s' if o.phases > 1 else ''}"
        title = Text(f"Amp Guard {o.serial}", style="bold", no_wrap=True, overflow="ellipsis")
        title.append(f"  {o.variant}, {clamps}", style="not bold")
        where = Table.grid(padding=(0, 2))
        for name, words in (
            ("now", story.now(t)),
            ("page", f"http://127.0.0.1:{o.portal}/"),
            ("control", f"http://127.0.0.1:{o.control}/plant  /net  /power"),
            ("broker", f"{self.broker}  ampguard/{o.serial}/#"),
        ):
            text = Text(words, style="bold" if name == "now" else "cyan", no_wrap=True)
            text.overflow = "ellipsis"
            where.add_row(Text(name, style="dim"), text)
        lines = (*self._messages, *self._lines)
        recent = [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in lines]
        return Group(title, where, Text(), self._phases(), self._figures(), Text(), *recent)

    def _phases(self) -> Table:
        m = self._story.measurement or {}
        table = Table(box=None, padding=(0, 1), pad_edge=False)
        for name in ("", "A", "V", "W", "var", "PF", "direction"):
            table.add_column(name, justify="left" if name == "direction" else "right", min_width=7)
        for k, phase in enumerate(_PHASES):
            power = _at(m, "p", k)
            direction = "" if power is None else "into the building" if power >= 0 else "out of it"
            table.add_row(
                Text(phase, style="bold"),
                *(_shown(_at(m, name, k), places) for name, places in _COLUMNS),
                direction,
            )
        return table

    def _figures(self) -> Text:
        m, heap = self._story.measurement or {}, self._story.heap
        flags = m.get("flags") or []
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{_shown(m.get('f'), 2)} Hz  coverage {_shown(m.get('cov'), 3)}  ")
        text.append("flags ")
        text.append(", ".join(str(flag) for flag in flags) or "none", "yellow" if flags else "")
        if heap:
            text.append(
                f"  heap {heap['in_use'] // 1024} of {heap['total'] // 1024} kB, "
                f"peak {heap['peak'] // 1024}",
                style="dim",
            )
        return text


_COLUMNS = (("i", 2), ("u", 1), ("p", 0), ("q", 0), ("pf", 2))


def view_for(options: Options, story: Story) -> View:
    """A screen if stderr is a terminal that stdout's lines would not tear, else plain lines."""
    console = Console(stderr=True)
    if console.is_terminal and not (options.json and sys.stdout.isatty()):
        return Screen(options, story, console)
    return View(options, story, messages=not options.json)


def summary(m: Message, serial: str) -> str:
    """A message in one short line."""
    topic = m.topic.removeprefix(f"ampguard/{serial}/")
    payload = m.payload
    if topic == "measurement" and isinstance(payload, dict):
        phases = "  ".join(
            f"{phase} {_shown(_at(payload, 'i', k), 2)} A {_shown(_at(payload, 'p', k), 0)} W"
            for k, phase in enumerate(_PHASES)
        )
        flags = " ".join(str(flag) for flag in payload.get("flags") or [])
        return f"measurement {payload.get('seq')}  {phases}  {flags}".rstrip()
    words = m.data.decode("utf-8", "replace")
    return f"{topic}{' (retained)' if m.retain else ''} {words}"


def _at(payload: dict[str, Any], name: str, k: int) -> float | None:
    """Element k of one of a measurement's arrays, None if it is absent or no number."""
    try:
        value = payload[name][k]
    except (KeyError, IndexError, TypeError):
        return None
    return value if isinstance(value, int | float) else None


def _shown(value: Any, places: int) -> str:
    return f"{value:z.{places}f}" if isinstance(value, int | float) else "-"
