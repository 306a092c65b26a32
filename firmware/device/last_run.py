"""What the last run ended with, in a line: for the log, as an event and in `info`. Loaded once, at
the start."""

from device.boots import BootRecord


def look(note, log, events):
    """`note` is what the board kept: in place of a traceback that found no room on flash, or of a
    hang (hang.py), which counts only if the watchdog came. Returns (number of this boot, "crash",
    "watchdog" or None, the line or None)."""
    boots = BootRecord()
    cause = "crash" if note and not _of_hang(note) else boots.cause
    if not cause:
        return boots.boots, None, None
    line = words(boots, note)
    log.warn("device", line)
    events.say("crash", line)
    return boots.boots, cause, line


def words(boots, note=None):
    """At most 240 characters."""
    if note and not _of_hang(note):
        return note[:240]
    if boots.cause == "watchdog":
        return "it %s; the watchdog restarted it" % (note or "hung")[:200]
    lines = (boots.last_crash() or "").strip().split("\n")
    if len(lines) < 2:
        return "it crashed; no traceback was kept"
    return ("%s: %s in %s" % (lines[0], lines[-1], _where(lines)))[:240]


def _of_hang(note):
    return note.startswith("hung: ")


def _where(lines):
    """The functions it was in, innermost first. Code for the board has no line numbers, and
    private names are short there: tools/explain.py."""
    names = []  # type: ignore[var-annotated]
    for line in lines:
        file, found, name = line.rpartition(", in ")
        if found and "asyncio/" not in file:
            name = file.split('"')[1] + "." + name
            if name not in names[-1:]:
                names.append(name)
    return " < ".join(reversed(names[-4:])) or "?"
