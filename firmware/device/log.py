"""What the device has to say to a person: one line on the console, the last lines kept in memory.

In: info/warn/error(area, words). Words never hold a password, the PIN or a key: whoever
writes a line leaves them out, nothing here could recognise them.
"""


class Log:
    kept = 24  # lines
    width = 160  # characters of a line

    def __init__(self, time, write=print):
        self._time = time
        self._write = write
        self._lines = [""] * self.kept
        self._next = 0

    def info(self, area, words):
        self._add("I", area, words)

    def warn(self, area, words):
        self._add("W", area, words)

    def error(self, area, words):
        self._add("E", area, words)

    def lines(self):
        """The kept lines, oldest first."""
        at = self._next
        return [line for line in self._lines[at:] + self._lines[:at] if line]

    def _add(self, level, area, words):
        ms = self._time.ticks_ms()
        line = "%d.%03d %s %s: %s" % (ms // 1000, ms % 1000, level, area, words)
        if len(line) > self.width:
            line = line[: self.width - 3] + "..."
        self._lines[self._next] = line
        self._next = (self._next + 1) % self.kept
        self._write(line)
