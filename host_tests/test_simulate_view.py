"""What people see of a running device: the story, the plain lines, the screen, the verdict."""

import io
import json
import time
from typing import Any

from rich.console import Console

from sim.message import Message
from sim.options import parse
from sim.story import Story
from sim.verdict import Throughout
from sim.view import Screen, View, summary

SERIAL = "AG100042317G"
ROOT = f"ampguard/{SERIAL}"
AP = {"ev": "ap", "active": True, "ssid": "Amp Guard_42317", "key": "K7M3XQ9A", "security": 3}
MEASUREMENT = {
    **{"v": 1, "seq": 7, "ts": None, "i": [16.01, 10.0, None], "u": [230.1, 230.0, None]},
    **{"p": [3683.0, -2300.0, None], "q": [12, 0, None], "pf": [1.0, -1.0, None]},
    **{"f": 50.01, "cov": 1.0, "flags": ["l2_export"]},
}


def message(topic: str, payload: Any, retain: bool = False) -> Message:
    return Message(time.time(), f"{ROOT}/{topic}", json.dumps(payload).encode(), 1, retain)


def test_the_story_follows_a_device_from_power_on_to_publishing() -> None:
    story = Story(ROOT)
    assert story.now(0) == "the power is off"
    story.power(True)
    assert story.now(0) == "booting"
    assert story.event(AP) == "opens its access point Amp Guard_42317 (WPA2)"
    assert story.event(AP) is None
    assert story.now(0) == "waiting for the installer on Amp Guard_42317"
    story.event({"ev": "sta", "connecting": "Hallonstigen 7"})
    assert story.now(0) == "joining Hallonstigen 7"
    assert story.event({"ev": "sta", "ip": "192.168.1.57", "ssid": "Hallonstigen 7"})
    story.message(message("measurement", MEASUREMENT))
    assert story.now(time.time()) == "online by Wi-Fi as 192.168.1.57, publishing"
    assert "silent for 20 s" in story.now(time.time() + 20)
    story.event({"ev": "sta", "lost": 202})
    assert story.now(0) == "without Wi-Fi (wrong password)"
    assert story.event({"ev": "reset", "cause": 3}) == "resets (watchdog)"
    assert (story.now(0), story.access_point, story.address) == ("booting", None, None)


def test_a_firmware_that_ends_is_told_as_such() -> None:
    story = Story(ROOT)
    story.event({"ev": "crash", "file": "main.py", "error": "OSError(2,)"})
    assert story.now(0) == "stopped: main.py ended with OSError(2,)"
    assert "signal 9" in str(story.event({"ev": "died", "code": -9}))


def test_the_screen_shows_every_phase_in_80_columns_and_24_rows() -> None:
    options, story, out = parse(["--serial", SERIAL]), Story(ROOT), io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True, color_system=None)
    screen = Screen(options, story, console)
    screen.broker = "127.0.0.1:1883"
    story.event({"ev": "second", "in_use": 60000, "peak": 90000, "total": 102400})
    story.event({"ev": "sta", "ip": "192.168.1.57"})
    for n in range(30):
        screen.say("device", f"line {n} " + "x" * 100)
        screen.message(message("event", {"what": "y" * 100, "n": n}))
    story.message(message("measurement", MEASUREMENT | {"q": [12, -0.3, None]}))
    console.print(screen.render(time.time()))
    lines = out.getvalue().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for shown in (
        *("publishing", f"127.0.0.1:{options.portal}/", f"127.0.0.1:{options.control}/"),
        *("127.0.0.1:1883", "16.01", "-2300", "out of it", "into the building", "50.01 Hz"),
        *("coverage 1.000", "l2_export", "58 of 100 kB", "line 29"),
    ):
        assert shown in text, shown
    assert "-0 " not in text


def test_the_devices_console_is_shown_at_a_modest_rate_and_the_rest_is_counted() -> None:
    out = io.StringIO()
    view = View(parse([]), Story(ROOT), out)
    for n in range(100):
        view.console(f"line {n}")
    shown = out.getvalue().splitlines()
    assert shown[0] == "device: line 0"
    assert 20 <= len(shown) < 40
    view._allowed = 1.0
    view.console("later")
    assert "lines not shown" in out.getvalue()


def test_plain_lines_carry_no_control_characters() -> None:
    out = io.StringIO()
    View(parse([]), Story(ROOT), out).console("\x1b[2Jhej\tdå")
    assert out.getvalue() == "device: ?[2Jhej?då\n"


def test_a_message_is_told_in_one_line() -> None:
    line = summary(message("measurement", MEASUREMENT), SERIAL)
    assert line == "measurement 7  L1 16.01 A 3683 W  L2 10.00 A -2300 W  L3 - A - W  l2_export"
    assert summary(message("status", {"online": True}, True), SERIAL) == (
        'status (retained) {"online": true}'
    )
    assert summary(Message(0, "x", b"\xff", 0, False), SERIAL) == "x \ufffd"


def test_a_message_line_holds_parsed_json_or_text() -> None:
    line = json.loads(Message(1.23456, "a", b'{"v": 1}', 1, True).line())
    assert line == {"t": 1.235, "topic": "a", "payload": {"v": 1}, "qos": 1, "retain": True}
    assert json.loads(Message(0, "a", b"{v", 0, False).line())["payload"] == "{v"


def test_a_device_that_never_measured_did_not_publish_throughout() -> None:
    verdict = Throughout()
    verdict.power_on(100)
    assert verdict.fault(140) == "no measurement came in 40.0 s"


def test_the_time_before_the_first_measurement_is_no_gap() -> None:
    verdict = Throughout()
    verdict.power_on(100)
    for t in range(130, 141):
        verdict.measured(t)
    assert verdict.fault(141) == ""
    assert verdict.summary(141) == (
        "11 measurements in 41 s, the first after 30.0 s, then 1.00 a second"
    )


def test_a_gap_of_more_than_ten_seconds_is_told_with_its_place() -> None:
    verdict = Throughout()
    verdict.power_on(100)
    for t in (105, 106, 117, 118):
        verdict.measured(t)
    assert verdict.fault(119) == "no measurement for 11.0 s, from 6.0 s after power-on on"


def test_silence_at_the_end_is_a_gap() -> None:
    verdict = Throughout()
    verdict.power_on(100)
    verdict.measured(105)
    assert "no measurement for 10.5 s" in verdict.fault(115.5)
