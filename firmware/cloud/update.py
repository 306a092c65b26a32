"""An update as a balancer starts it: the uplink's thread fetches and installs between two
messages, the main thread answers, reports and restarts. Loaded for one update.

In: the URL of a bundle. Out: `response`s and `event`s, see docs/protocol.md; at the end a restart
into the new slot, which is then on trial (trial.py).
"""

import asyncio
import json

from micropython import const
from version import VERSION

from cloud import install
from cloud.download import Download
from device.unloading import unload

_REST = const(30)  # times as long as a step took: metering keeps 95 % of the time
_LONGEST_REST_MS = const(1000)
_LOOK_S = 0.1


def start(name, arguments, uplink, parts, view):
    """For the command with the id `name`; `view` is the buffer. Returns the task to be run, or
    ValueError."""
    url = None
    downgrade = False
    for argument, value in arguments.items():
        if argument == "url" and type(value) is str:
            url = value
        elif argument == "downgrade" and type(value) is bool:
            downgrade = value
        elif argument in ("url", "downgrade"):
            raise ValueError("%s is %s, expected %s" % (argument, json.dumps(value)[:40],
                             "a text" if argument == "url" else "true or false"))  # fmt: skip
        else:
            raise ValueError("update takes no %s" % argument[:40])
    if url is None:
        raise ValueError("url is missing, expected http://host/path or https://host/path")
    from cloud.http_head import parse  # noqa: PLC0415 (for a moment)

    where = parse(url)
    unload("cloud.http_head")
    if uplink.job is not None:
        raise ValueError("an update is under way")
    job = Job(where, downgrade, uplink.dial, parts, view)
    uplink.job = job.step
    return job.report(name, uplink, parts)


class Job:
    """step() is for the uplink's thread, report() for the main one; `ended` passes from one to
    the other, and so does `version`."""

    def __init__(self, where, downgrade, dial, parts, view):
        time = parts["time"]
        self.version = None  # once the bundle is known to be good
        self.size = 0
        self.problem = None  # words
        self.running = False  # it was that version already
        self.ended = False
        self._time = time
        self._not_before = time.ticks_ms()
        self._view = view
        self._download = Download(where, dial, time)
        self._install = install.install(
            self._view, install.about(parts["identity"].variant), VERSION, downgrade, self._judged
        )
        self._wanted = None

    def step(self):
        """One piece of work, or none. Called all the time."""
        if self.ended:
            return
        now = self._time.ticks_ms()
        if self._time.ticks_diff(now, self._not_before) < 0:
            return
        try:
            self._work()
        except StopIteration:
            self.ended = True
        except install.Running:
            self.running = True
            self._end()
        except install.Refused as reason:
            self._end(str(reason))
        except OSError as error:
            full = error.errno == 28
            self._end("flash is full" if full else "flash failed (error %s)" % error.errno)
        except MemoryError:
            self._end("not enough memory at the moment")
        except Exception as fault:  # of what came from outside nothing may end the thread
            self._end("failed: %r" % fault)
        took = self._time.ticks_diff(self._time.ticks_ms(), now)
        rest = min(_REST * took, _LONGEST_REST_MS)
        self._not_before = self._time.ticks_add(self._time.ticks_ms(), rest)

    def _work(self):
        count = None
        if self._wanted is not None:
            offset, size = self._wanted
            count = self._download.read(offset, self._view, size)
            if not count:
                return
        self._wanted = self._install.send(count)

    def _judged(self, version, size):
        self.size = size
        self.version = version

    def _end(self, words=None):
        self.problem = words
        self._download.close()
        self._install.close()
        self.ended = True

    async def report(self, name, uplink, parts):
        """The task of the main thread: until the end, and the restart if it went well."""
        log = parts["log"]
        answered = False
        while not self.ended:
            if self.version is not None and not answered:
                answered = True
                log.info("update", "%s, %d bytes, is being fetched" % (self.version, self.size))
                uplink.respond(_response(name, {"version": self.version, "running": VERSION}))
            await asyncio.sleep(_LOOK_S)
        uplink.job = None
        if self.running:
            uplink.respond(_response(name, {"version": VERSION, "running": VERSION}))
        elif self.problem is not None:
            log.error("update", self.problem)
            if answered:
                words = "%s is not installed: %s" % (self.version, self.problem)
                parts["events"].say("update_failed", words)
            else:
                uplink.respond(
                    '{"v":1,"id":%s,"ok":false,"error":%s}'
                    % (json.dumps(name), json.dumps(self.problem))
                )
        else:
            log.info("update", "%s is installed and will be tried" % self.version)
            try:
                from cloud.actions import leave  # noqa: PLC0415 (not needed before)
            except MemoryError:
                parts["restart"]()
            await leave(uplink, parts)


def _response(name, result):
    return '{"v":1,"id":%s,"ok":true,"result":%s}' % (json.dumps(name), json.dumps(result))
