"""An update as a balancer starts it: the uplink's thread fetches and installs between two
messages, the main thread answers, reports and restarts. Loaded for one update.

In: the URL of a bundle. Out: `response`s and `event`s, see docs/protocol.md; at the end a restart
into the new slot, which is then on trial (trial.py).

What installs (install.py) is loaded once the server has answered, for a board has no room for it
beside what dials. Where that is short when a connection breaks, it is let go of and begins anew:
what it has brought is kept. Is it short a second time, the device hangs up, for the room of a
connection is the last there is; it restarts then, whatever comes of the update.
"""

import asyncio
import gc
import json

from micropython import const
from version import VERSION

from cloud.download import Download
from cloud.refused import Refused, Running
from device.unloading import unload

_REST = const(30)  # times as long as a step took: metering keeps 95 % of the time
_LONGEST_REST_MS = const(1000)
_LOOK_S = 0.1
_ANEW = const(4)  # times at most that it begins anew for want of memory
_FIRST = (0, 1)  # offset and size: where a bundle begins, and so does install()
_LOADED = ("cloud.update", "cloud.download", "cloud.http_head", "cloud.refused")
_TO_INSTALL = (
    "cloud.install",
    "cloud.bundle_manifest",
    "cloud.bundle_check",
    "cloud.bundle_files",
    "cloud.signature",
    "cloud.update_key",
    "device.slots",
)


def start(name, asked, uplink, parts, view):
    """For the command with the id `name`; `asked`: see update_request.py; `view` is the buffer."""
    job = Job(asked, uplink, parts, view)
    asyncio.create_task(job.report(name, uplink, parts))
    uplink.job = job.step


class Job:
    """step() is for the uplink's thread, report() for the main one; `ended` passes from one to
    the other, and so does `version`."""

    def __init__(self, asked, uplink, parts, view):
        time = parts["time"]
        self.version = None  # once the bundle is known to be good
        self.size = 0
        self.problem = None  # words
        self.running = False  # it was that version already
        self.ended = False
        self.hangs_up = False
        self._time = time
        self._not_before = time.ticks_ms()
        self._view = view
        self._uplink = uplink
        self._download = Download(asked[:4], uplink.dial, time)
        self._variant = parts["identity"].variant
        self._downgrade = asked[4]
        self._anew = _ANEW
        self._install = None  # type: ignore[var-annotated]  # install.install(...)
        self._wanted = _FIRST

    def step(self):
        """One piece of work, or none. Called all the time."""
        if self.ended or (self.hangs_up and self._uplink.state != "off"):
            return
        now = self._time.ticks_ms()
        if self._time.ticks_diff(now, self._not_before) < 0:
            return
        try:
            self._work()
        except StopIteration:
            self._end()
        except Running:
            self.running = True
            self._end()
        except Refused as reason:
            self._end(str(reason))
        except OSError as error:
            full = error.errno == 28
            self._end("flash is full" if full else "flash failed (error %s)" % error.errno)
        except MemoryError:
            self._anew -= 1
            if self._anew < 0:
                self._end("not enough memory at the moment")
            else:
                self._let_go()
                if self._anew < _ANEW - 1:
                    self.hangs_up = True
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
        if self._install is None:
            from cloud import install  # noqa: PLC0415 (see above)

            have = install.about(self._variant)
            self._install = install.install(
                self._view, have, VERSION, self._downgrade, self._judged
            )
            install = None  # type: ignore[assignment]
            next(self._install)  # it wants what has come
        self._wanted = self._install.send(count)

    def _let_go(self):
        """Back to the start, where least memory is taken."""
        self._download.close()
        if self._install is not None:
            self._install.close()
            self._install = None
        self._wanted = _FIRST
        unload(*_TO_INSTALL)
        gc.collect()

    def _judged(self, version, size):
        self.size = size
        self.version = version

    def _end(self, words=None):
        self.problem = words
        self._let_go()
        self.ended = True

    async def report(self, name, uplink, parts):
        """The task of the main thread: until the end, and the restart if it went well."""
        log = parts["log"]
        answered = self.hangs_up = uplink.alone  # begin_update.py had no room either
        known = False
        while not self.ended:
            if self.hangs_up and not uplink.alone:
                if not answered:
                    uplink.respond(_response(name, {"running": VERSION, "hangs_up": True}))
                answered = uplink.alone = True
            if self.version is not None and not known:
                known = True
                log.info("update", "%s, %d bytes, is being fetched" % (self.version, self.size))
                if not answered:
                    uplink.respond(_response(name, {"version": self.version, "running": VERSION}))
                answered = True
            await asyncio.sleep(_LOOK_S)
        uplink.job = None
        unload(*_LOADED)  # garbage once this has ended
        problem = self.problem
        if self.running:
            if not answered:
                uplink.respond(_response(name, {"version": VERSION, "running": VERSION}))
                return
            problem = "it runs already"
        if problem is None:
            log.info("update", "%s is installed and will be tried" % self.version)
        else:
            log.error("update", problem)
            if not answered:
                uplink.respond(
                    '{"v":1,"id":%s,"ok":false,"error":%s}'
                    % (json.dumps(name), json.dumps(problem))
                )
                return
            words = "%s is not installed: %s" % (self.version or "it", problem)
            parts["events"].say("update_failed", words)
            if not uplink.alone:
                return
        try:
            from cloud.actions import leave  # noqa: PLC0415 (not needed before)
        except MemoryError:
            parts["restart"]()
        await leave(uplink, parts)


def _response(name, result):
    return '{"v":1,"id":%s,"ok":true,"result":%s}' % (json.dumps(name), json.dumps(result))
