"""The button and the LED, in virtual time."""

from types import SimpleNamespace

import pytest

from device import panel as panels
from device.panel import Panel
from sim.cpython.virtual_time import VirtualTime


class Front:
    """The device as a finger and an eye know it."""

    def __init__(self, pressed=False):
        self.time = VirtualTime(2**30 * 1_000_000 - 7_000_000_000)  # the ticks wrap in 7 s
        self.pressed = pressed
        self.done = []
        self.lit = []
        self.link = SimpleNamespace(
            interface=None,
            trial=("idle", None, None),
            open_access_point=lambda: self.done.append("access point"),
            forget_wifi=self.forget,
        )
        self.uplink = SimpleNamespace(state="off")
        self.full = False
        self.panel = Panel(
            lambda: 0 if self.pressed else 1,
            self.lit.append,
            link=self.link,
            uplink=self.uplink,
            time=self.time,
        )

    def forget(self):
        if self.full:
            raise OSError(28)
        self.done.append("forget")

    def pass_time(self, seconds, step_ms=50):
        for _ in range(round(seconds * 1000 / step_ms)):
            self.time.sleep_ms(step_ms)
            self.panel.step()

    def press(self, seconds, step_ms=50):
        self.pass_time(0.5)
        self.pressed = True
        self.pass_time(seconds, step_ms)
        self.pressed = False
        self.pass_time(0.5)

    def seen(self, seconds=2):
        """The LED by tenths of a second, from the start of its pattern."""
        while self.time.ticks_ms() % 2000:
            self.time.sleep_ms(1)
        shown = ""
        for _ in range(round(seconds * 10)):
            self.panel.step()
            shown += "#" if self.lit[-1] else "."
            self.time.sleep_ms(100)
        return shown


@pytest.mark.parametrize("seconds", [0.2, 1, 5, 9.5])
def test_a_short_press_opens_the_access_point(seconds):
    front = Front()
    front.press(seconds)
    assert front.done == ["access point"]


def test_ten_seconds_forget_the_wifi_once_and_the_led_says_so():
    front = Front()
    front.press(9.8)
    front.done.clear()
    front.pass_time(1)
    front.pressed = True
    front.pass_time(10.2)
    assert front.done == ["forget"]
    assert front.panel.pattern() == panels.FLICKER
    front.pass_time(30)
    assert front.done == ["forget"]
    front.pressed = False
    front.pass_time(1)
    assert front.done == ["forget"]
    assert front.panel.pattern() == panels.MEASURING
    front.press(1)
    assert front.done == ["forget", "access point"]


def test_a_pulse_on_the_wire_is_no_finger():
    front = Front()
    for _ in range(20):
        front.press(0.05)
    assert front.done == []


def test_a_button_that_is_stuck_from_the_start_means_nothing():
    front = Front(pressed=True)
    front.pass_time(60)
    assert front.done == []
    front.pressed = False
    front.press(1)
    assert front.done == ["access point"]


def test_a_loop_that_was_held_up_still_counts_the_seconds():
    front = Front()
    front.press(12, step_ms=400)
    assert front.done == ["forget"]


def test_a_full_flash_is_no_crash_and_no_success():
    front = Front()
    front.full = True
    front.press(11)
    assert front.done == []
    assert front.panel.pattern() == panels.MEASURING


@pytest.mark.parametrize(
    ("interface", "trial", "cloud", "shown"),
    [
        (None, "idle", "off", "#..................."),
        (None, "connecting", "off", "#####.....#####....."),
        (None, "failed", "off", "#.#................."),
        ("wifi", "online", "connecting", "#####.....#####....."),
        ("wifi", "online", "failed: broker.lan refuses", "#.#................."),
        ("lan", "online", "online", "####################"),
        ("wifi", "failed", "online", "####################"),
        ("wifi", "failed", "off", "#####.....#####....."),
    ],
)
def test_the_led_tells_measuring_joining_online_and_fault_apart(interface, trial, cloud, shown):
    front = Front()
    front.link.interface = interface
    front.link.trial = (trial, None, None)
    front.uplink.state = cloud
    assert front.seen() == shown


def test_the_led_is_switched_only_when_it_changes():
    front = Front()
    front.uplink.state = "online"
    front.pass_time(20)
    assert front.lit == [1]


def test_a_device_that_is_asked_for_flickers_and_goes_back():
    front = Front()
    front.uplink.state = "online"
    front.panel.identify(4)
    assert front.seen() == "#." * 10
    front.pass_time(5)
    assert front.seen() == "#" * 20
