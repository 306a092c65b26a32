"""Tables for people: on the terminal with rich, and as Markdown under docs/bench/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "bench"


class Report:
    """One page of docs/bench; what is shown is saved."""

    def __init__(self, name: str, title: str, console: Console) -> None:
        self._path = FOLDER / f"{name}.md"
        self._lines = [f"# {title}", ""]
        self._console = console

    def words(self, text: str) -> None:
        self._console.print(text)
        self._lines += [text, ""]

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        shown = Table(title=title, title_justify="left")
        for n, name in enumerate(header):
            shown.add_column(name, justify="right" if n else "left", no_wrap=not n)
        for row in rows:
            shown.add_row(*row)
        self._console.print(shown)
        self._lines += [f"**{title}**", "", "| " + " | ".join(header) + " |"]
        self._lines += ["|---" + "|--:" * (len(header) - 1) + "|"]
        self._lines += ["| " + " | ".join(row) + " |" for row in rows] + [""]

    def picture(self, name: str, what: str) -> Path:
        """Where a picture is to be saved; the page shows it."""
        self._lines += [f"![{what}]({name}.png)", ""]
        FOLDER.mkdir(parents=True, exist_ok=True)
        return FOLDER / f"{name}.png"

    def save(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        self._path.write_text("\n".join(self._lines).rstrip() + "\n")
        self._console.print(f"[dim]saved {self._path.relative_to(FOLDER.parents[1])}")


def spread(errors: Sequence[float], digits: int = 2) -> list[str]:
    """median, p95 and worst of the sizes of errors."""
    sizes = np.abs(np.array(errors))
    if not len(sizes):
        return ["-", "-", "-"]
    found = (np.median(sizes), np.percentile(sizes, 95), sizes.max())
    return [f"{value:.{digits}f}" for value in found]


def judged(value: float, most: float, digits: int = 2) -> str:
    """A value against its target, in words."""
    return f"{value:.{digits}f} {'met' if value <= most else 'MISSED'} (<= {most:g})"
