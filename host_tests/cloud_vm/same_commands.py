"""Commands: sentences that hold on every interpreter."""

import gc
import json
import os
import random

from expect import Part

from cloud.commands import Commands
from device.log import Log
from device.settings import Settings

done = []


def desk():
    done.clear()
    actions = {
        "report": lambda: {},
        "restart": lambda: done.append("restart") or {},
        "identify": lambda seconds=10: done.append(seconds) or {"seconds": seconds},
    }
    settings = Settings("s", {"phases": 3})
    log = Log(Part(ticks_ms=lambda: 0), lambda line: None)
    return settings, Commands(settings, log, actions)


def ask(commands, retained=False, **command):
    message = {"v": 1, "id": "a" + str(random.getrandbits(24)), "do": "ping"}
    message.update(command)
    answer = json.loads(commands.answer(json.dumps(message).encode(), retained))
    assert answer["v"] == 1
    assert answer["id"] == message["id"] or not answer["ok"]
    return answer


def error(commands, **command):
    answer = ask(commands, **command)
    assert answer["ok"] is False, answer
    return answer["error"]


def test_a_ping_is_answered_under_its_id():
    _, commands = desk()
    assert ask(commands, id="x1") == {"v": 1, "id": "x1", "ok": True, "result": {}}


def test_a_balancer_may_change_what_concerns_it_and_is_told_the_result():
    settings, commands = desk()
    answer = ask(commands, do="set", interval_s=5, supply_max_a=25)
    assert answer["result"] == {"interval_s": 5, "supply_max_a": 25}
    assert settings.interval_s == 5
    assert Settings("s").supply_max_a == 25


def test_what_does_not_concern_a_balancer_is_refused():
    settings, commands = desk()
    for name, value in (
        ("wifi_password", "x"),
        ("wifi_ssid", "x"),
        ("provider", {"host": "evil.example", "port": 1883, "tls": False}),
        ("colour", 1),
    ):
        words = error(commands, do="set", interval_s=5, **{name: value})
        assert name in words
        assert "supply_max_a" in words
    assert settings.interval_s == 1
    assert os.listdir() == []


def test_an_error_says_what_was_wrong_and_what_is_expected():
    _, commands = desk()
    assert error(commands, do="set", interval_s=90) == (
        "interval_s is 90: expected a whole number from 1 to 60"
    )
    assert 'do is "dance", expected one of capture, identify' in error(commands, do="dance")
    assert error(commands, v=2) == "v is 2, expected 1"
    assert "expected a text" in error(commands, id=7)
    assert "expected a text" in error(commands, id="x" * 65)
    assert error(commands, do="ping", hard=True) == "ping takes no hard"
    assert "seconds is 0, expected a whole number" in error(commands, do="identify", seconds=0)
    assert "not something this device can do" in error(commands, do="capture")
    assert "nothing to set" in error(commands, do="set")
    assert done == []


def test_what_is_no_command_is_answered_without_an_id():
    _, commands = desk()
    for payload, words in (
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "no object"),
        (b"7", "no object"),
        (b"null", "no object"),
        (None, "too long"),
        (b"[" * 1000, "not JSON"),
    ):
        answer = json.loads(commands.answer(payload))
        assert answer["id"] is None, payload
        assert words in answer["error"], (payload, answer)


def test_a_command_is_obeyed_once():
    _, commands = desk()
    assert ask(commands, id="r", do="restart")["ok"]
    assert "answered before" in error(commands, id="r", do="restart")
    assert done == ["restart"]
    for n in range(100):
        assert ask(commands, id="n" + str(n))["ok"]
    assert len(commands._answered) == 16


def test_a_retained_command_is_not_obeyed():
    _, commands = desk()
    assert "retained" in error(commands, do="restart", retained=True)
    assert done == []


def test_identify_passes_its_seconds_on():
    _, commands = desk()
    assert ask(commands, do="identify", seconds=30)["result"] == {"seconds": 30}
    assert ask(commands, do="identify")["result"] == {"seconds": 10}
    assert done == [30, 10]


def test_the_log_is_told_as_far_as_asked():
    _, commands = desk()
    for _ in range(20):
        ask(commands)
    assert len(ask(commands, do="log", lines=3)["result"]) == 3
    assert len(ask(commands, do="log")["result"]) == 10


def test_a_log_of_long_lines_is_told_as_far_as_the_heap_allows():
    _, commands = desk()
    for n in range(20):
        commands._log.info("test", str(n) + "x" * 200)
    lines = ask(commands, do="log", lines=40)["result"]
    assert 10 <= len(lines) <= 13
    assert sum(len(line) for line in lines) <= 2000
    assert lines[-1].endswith("command log")


def test_what_was_set_is_applied_and_says_what_it_takes():
    settings, commands = desk()
    seen = []

    def applied():
        seen.append(settings.phases)
        return {"restart_needed": True}

    commands = Commands(settings, commands._log, {"applied": applied})
    assert ask(commands, do="set", phases=1)["result"] == {"phases": 1, "restart_needed": True}
    assert seen == [1]
    assert "expected one of" in error(commands, do="applied")


def test_the_ids_that_were_obeyed_outlive_the_code_that_is_let_go():
    settings, commands = desk()
    answered = []
    for ok in (True, False):
        commands = Commands(settings, commands._log, {}, answered)
        assert ask(commands, id="r", do="ping")["ok"] is ok


def bad_commands(count):
    """Commands with something wrong with each of them."""
    random.seed(20260101)
    good = b'{"v":1,"id":"a","do":"set","interval_s":5}'
    values = [None, True, -1, 0, 401, 10**12, 1.5, "", "5", [], {}, [[]], {"a": 1}, "x" * 400]
    for n in range(count):
        way = n % 4
        if way == 0:  # cut
            yield good[: random.getrandbits(8) % len(good)]
        elif way == 1:  # a field of the wrong kind
            command = {"v": 1, "id": "b" + str(n), "do": "set", "interval_s": 5}
            name = ("v", "do", "interval_s", "supply_max_a", "step_a", "phases", "wifi_ssid")[
                random.getrandbits(8) % 7
            ]
            command[name] = values[random.getrandbits(8) % len(values)]
            if (name == "supply_max_a" and command[name] is None) or (
                name == "v" and command[name] is True
            ):
                command[name] = "bad"
            yield json.dumps(command).encode()
        elif way == 2:  # noise
            yield bytes(random.getrandbits(8) for _ in range(random.getrandbits(6)))
        else:  # repeated
            yield b'{"v":1,"id":"again","do":"restart"}'


def test_of_thousands_of_bad_commands_none_changes_anything_or_leaks():
    settings, commands = desk()
    ask(commands, id="again", do="ping")
    before = {name: settings.get(name) for name in settings.names()}
    heap = []
    refused = 0
    for payload in bad_commands(5000):
        answer = json.loads(commands.answer(payload))
        assert answer["ok"] is False, payload
        assert 1 <= len(answer["error"]) <= 240
        refused += 1
        if refused in (2500, 5000) and hasattr(gc, "mem_alloc"):
            del answer
            gc.collect()
            heap.append(gc.mem_alloc())
    assert refused == 5000
    assert done == []
    assert {name: settings.get(name) for name in settings.names()} == before
    assert os.listdir() == []
    assert not heap or heap[1] - heap[0] < 512, heap
