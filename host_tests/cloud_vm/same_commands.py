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


def desk(folder=None):
    done.clear()
    actions = {
        "report": lambda: {},
        "restart": lambda: done.append("restart") or {},
        "identify": lambda seconds=10: done.append(seconds) or {"seconds": seconds},
    }
    settings = Settings("s", {"phases": 3})
    log = Log(Part(ticks_ms=lambda: 0, time=lambda: 0), lambda line: None, folder)
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
    assert error(commands, do="set", interval_s=None).startswith("interval_s is null: expected")
    assert error(commands, do="set", home_assistant=True, phases=True).startswith("phases is true")
    assert error(commands, do="set", wiring="L1").startswith('wiring is "L1": expected')
    assert 'do is "dance", expected one of capture, identify' in error(commands, do="dance")
    assert error(commands, v=2) == "v is 2, expected 1"
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
        ((b"x" * 256, 3000), "too long: 3000 bytes, expected 1000 at most"),
        (b"[" * 1000, "not JSON"),
    ):
        answer = json.loads(commands.answer(payload))
        assert answer["id"] is None, payload
        assert words in answer["error"], (payload, answer)


def test_who_sent_what_can_not_be_read_is_told_under_the_id_in_it():
    _, commands = desk()
    for payload, words in (
        (b'{"v":1,"id":"w1","do":"ping"', "not JSON"),
        (b'{"id" : "w1", do:ping}', "not JSON"),
        (b'\xff{"id":"w1"}', "not JSON"),
        ((b'{"v":1,"id":"w1","do":"ping","x":"yyy', 3000), "too long"),
    ):
        answer = json.loads(commands.answer(payload))
        assert (answer["id"], answer["ok"]) == ("w1", False), payload
        assert words in answer["error"]
    for payload in (
        b'{"id"',
        b'{"id":',
        b'{"id":7',
        b'{"id":"',
        b'{"id":""',
        b'{"id":"w\\',
        b'{"id":"w\x01"',
        b'{"id":"\xff"',
        b'{"id":"' + b"w" * 65 + b'"',
        b'{"x":"id"',
    ):
        assert json.loads(commands.answer(payload))["id"] is None, payload
        assert json.loads(commands.answer((payload, 2000)))["id"] is None, payload


def test_what_only_looks_like_json_is_not_obeyed():
    """MicroPython's reader takes all of these; a number for a name once restarted the device."""
    _, commands = desk()
    for text in (
        '{"v":1,"id":"j","do":"restart",}',
        '{"v":1,"id":"j","do":"restart",1:2}',
        '{"v":1,"id":"j","do":"restart",null:2}',
        '{"v" 1 "id" "j" "do" "restart"}',
        '{"v",1,"id","j","do","restart"}',
        '{"v":1:"id":"j","do":"restart"}',
        '{"v":1,,"id":"j","do":"restart"}',
        '{,"v":1,"id":"j","do":"restart"}',
        '{"v":01,"id":"j","do":"restart"}',
        '{"v":1,"id":"j","do":"restart"]',
        '{"v":1,"id":"j","do":"re\\start"}',
        '{"v":1,"id":"j\\uzzzz","do":"restart"}',
        '{"v":1,"id":"j\\ud83d","do":"restart"}',
        '{"v":1,"id":"j\\ude00","do":"restart"}',
        '{"v":1,"id":"j\\ud83d\\u0041","do":"restart"}',
        '{"v":1,"id":"j\n","do":"restart"}',
        '{"v":1,"id":"j","do":"identify","seconds":[1,,2]}',
        '{"v":1,"id":"j","do":"identify","seconds":[1}',
        '{"v":1,"id":"j","do":"identify","seconds":1.}',
        '{"v":1,"id":"j","do":"identify","seconds":}',
        ':{"v":1,"id":"j","do":"restart"}',
        ',{"v":1,"id":"j","do":"restart"}',
    ):
        answer = json.loads(commands.answer(text.encode()))
        assert (answer["ok"], answer["error"]) == (False, "the command is not JSON"), text
    assert done == []


def test_what_is_json_is_read_however_it_is_written():
    _, commands = desk()
    for text, name in (
        ('\r\n\t{ "v" : 1 , "id" : "k1" , "do" : "ping" } ', "k1"),
        ('{"\\u0076":1,"\\u0069d":"\\"\\\\\\/\\b","do":"ping"}', '"\\/\b'),
        ('{"v":1,"id":"\\ud83d\\ude00 \\u00e5","do":"ping"}', "\U0001f600 \u00e5"),
        ('{"v":1,"id":"\U0001f600","do":"ping"}', "\U0001f600"),
    ):
        answer = commands.answer(text.encode())
        assert json.loads(answer) == {"v": 1, "id": name, "ok": True, "result": {}}, text
        answer.encode().decode()
        commands._answered.clear()
    for value in ("[]", "{}", '[1,[],{"a":[true,false,null]}]', "-0.5e-3", "0", "1E+2", "10"):
        words = '{"v":1,"id":"k","do":"identify","seconds":' + value + "}"
        answer = json.loads(commands.answer(words.encode()))
        assert answer["ok"] is (value == "10"), value
        assert answer["ok"] or "seconds is" in answer["error"], value


def test_a_command_that_says_two_things_under_one_name_is_refused():
    """Readers differ in which of them they take: who allowed it may have read the other."""
    _, commands = desk()
    for text in (
        '{"v":1,"id":"j","do":"ping","do":"restart"}',
        '{"v":1,"id":"j","do":"ping","\\u0064o":"restart"}',
        '{"v":1,"id":"j","do":"identify","seconds":5,"seconds":500}',
        '{"v":1,"id":"j","do":"set","wiring":{"voltages":1,"voltages":3}}',
        '{"v":1,"id":"j","do":"identify","seconds":[1,{"a":1,"a":1}]}',
    ):
        answer = json.loads(commands.answer(text.encode()))
        assert (answer["id"], answer["ok"]) == ("j", False), text
        assert answer["error"] == "the command has a name twice", (text, answer)
    assert done == []


def test_an_error_about_the_id_says_what_an_id_is():
    _, commands = desk()
    for bad in (None, 7, "", "x" * 65, "\u00e5" * 33, ["a"]):
        assert error(commands, id=bad) == "id is missing or no text of 1 to 64 bytes", bad


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
    assert error(commands, do="log", all=1) == "all is 1, expected true or false"
    assert "not something this device can do" in error(commands, do="log", all=True)


def test_a_log_of_long_lines_is_told_as_far_as_the_heap_allows():
    _, commands = desk("log")
    for n in range(20):
        commands._log.info("test", str(n) + "x" * 200)
        commands._log.flush()
    lines = ask(commands, do="log", lines=40)["result"]
    assert 15 <= len(lines) <= 26  # each write has a line of its own
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
