"""What a person without a phone has: one button, one LED.

In: two pins, what the link and the uplink say. Out: a short press opens the access point for ten
minutes, ten seconds forget the Wi-Fi; the LED shows how the device is:

    steady                        online: the load balancer gets the measurements
    half a second on, half off    joining the network, or reaching the load balancer
    two short flashes every 2 s   fault: network or load balancer refuse; the page says why
    one short flash every 2 s     measuring, no network set up yet
    flickering                    the Wi-Fi is forgotten, or somebody asks which device this is
"""

import asyncio

from micropython import const

_STEP_MS = const(50)
_SLOT_MS = const(100)
_SLOTS = const(20)
_FORGET_MS = const(10_000)
_FLICKER_MS = const(3_000)
_CAP_MS = const(1 << 28)

# One bit a slot, two seconds in all.
ONLINE = const(0xFFFFF)
JOINING = const(0x07C1F)
FAULT = const(0x00005)
MEASURING = const(0x00001)
FLICKER = const(0x55555)


class Panel:
    def __init__(self, button, led, *, link, uplink, time, log=None):
        """`button()` is 0 while pressed, `led(1)` lights it: machine.Pin, both."""
        self._button = button
        self._led = led
        self._link = link
        self._uplink = uplink
        self._time = time
        self._log = log
        self._last_ms = time.ticks_ms()
        self._held_ms = None  # None until it was seen released: a stuck button means nothing
        self._pressed = False  # as of the last look: a contact counts when two looks agree
        self._flicker_ms = 0
        self._lit = None

    def identify(self, seconds):
        self._flicker_ms = seconds * 1000

    async def run(self, alive):
        while True:
            self.step()
            alive()
            await asyncio.sleep(_STEP_MS / 1000)

    def step(self):
        now = self._time.ticks_ms()
        passed = self._time.ticks_diff(now, self._last_ms)
        self._last_ms = now
        self._watch_button(passed)
        self._flicker_ms -= min(passed, self._flicker_ms)
        lit = self.pattern() >> now // _SLOT_MS % _SLOTS & 1
        if lit != self._lit:
            self._lit = lit
            self._led(lit)

    def pattern(self):
        """The LED's next two seconds, a bit for each tenth of a second."""
        if self._flicker_ms:
            return FLICKER
        if self._held_ms:  # the finger is felt
            return ONLINE
        state = self._uplink.state
        if state == "online":
            return ONLINE
        if self._link.interface:
            return FAULT if state.startswith("failed") else JOINING
        trial = self._link.trial[0]
        if trial == "failed":
            return FAULT
        return JOINING if trial == "connecting" else MEASURING

    def _watch_button(self, passed):
        pressed = not self._button()
        agreed = pressed == self._pressed
        self._pressed = pressed
        if not agreed:
            return
        held = self._held_ms
        if not pressed:
            self._held_ms = 0
            if held and held < _FORGET_MS:
                self._say("info", "button: access point")
                self._link.open_access_point()
        elif held is not None and held < _FORGET_MS:
            self._held_ms = held + passed
            if self._held_ms >= _FORGET_MS:
                self._forget()

    def _forget(self):
        self._say("warn", "button: the Wi-Fi is to be forgotten")
        try:
            self._link.forget_wifi()
        except OSError as fault:
            self._say("error", "it could not be forgotten: %s" % fault)
            return
        self._flicker_ms = _FLICKER_MS

    def _say(self, level, words):
        if self._log is not None:
            getattr(self._log, level)("panel", words)
