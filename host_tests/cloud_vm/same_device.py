"""identity, settings, storage, log, boots, supervisor: sentences for every interpreter."""

import builtins
import json
import os

from expect import Part, raises

from device import (
    boots,
    hang,
    health,
    identity,
    last_run,
    log_lines,
    rescue,
    settings,
    storage,
    supervisor,
)
from device.log import Log

FACTORY = {
    "v": 1,
    "serial": "AG100042317G",
    "pin": "K7M3XQ9A",
    "variant": "home",
    "phases": 3,
    "provider": {"host": "broker.lan", "port": 1883, "tls": False},
}


# -- identity


def factory(**changes):
    content = dict(FACTORY)
    content.update(changes)
    with open("factory.json", "w") as file:
        file.write(json.dumps(content))
    return "factory.json"


def test_the_access_point_bears_the_five_digits_before_the_g():
    who = identity.load(factory())
    assert (who.serial, who.digits, who.ssid) == ("AG100042317G", "42317", "Amp Guard_42317")
    assert (who.variant, who.range_a, who.phases) == ("home", 100, 3)
    assert who.calibration is None
    assert identity.load(factory(variant="public")).range_a == 400


def test_a_serial_that_breaks_the_rule_is_refused_with_the_rule():
    for serial in ("AG100042317", "AG1000G", "G", "ag00042317G", "A" * 20 + "42317G", 7, None):
        assert "serial" in raises(ValueError, identity.load, factory(serial=serial))
    assert identity.load(factory(serial="42317G")).digits == "42317"


def test_what_is_wrong_in_the_factory_file_is_said_and_the_pin_is_not():
    assert "missing" in raises(ValueError, identity.load, "nowhere.json")
    assert "variant" in raises(ValueError, identity.load, factory(variant="tiny"))
    assert "phases" in raises(ValueError, identity.load, factory(phases=True))
    assert "port" in raises(
        ValueError, identity.load, factory(provider={"host": "a", "port": 0, "tls": False})
    )
    words = raises(ValueError, identity.load, factory(pin="secret"))
    assert "pin" in words
    assert "secret" not in words
    with open("factory.json", "w") as file:
        file.write('{"v":1,')
    assert "JSON" in raises(ValueError, identity.load, "factory.json")
    for name in ("serial", "pin", "variant", "phases", "provider"):
        for value in (None, [], {}, 1.5, True, "", "x" * 300):
            assert name in raises(ValueError, identity.load, factory(**{name: value}))
    with open("factory.json", "wb") as file:
        file.write(b"\xff" * 200)
    assert "JSON" in raises(ValueError, identity.load, "factory.json")


def test_of_a_damaged_identity_what_is_sound_is_used_and_nothing_else():
    who = rescue.identity(factory(provider={"host": "a", "tls": False}, phases="3"))
    assert (who.ssid, who.pin, who.variant) == ("Amp Guard_42317", FACTORY["pin"], "home")
    assert (who.provider, who.phases) == (None, None)
    for pin in (None, 12345678, "", "short", "x" * 9, "K7M3XQ9\n"):
        assert rescue.identity(factory(pin=pin)).pin is None
    who = rescue.identity(factory(serial=None))
    assert (who.serial, who.ssid, who.pin) == (None, "Amp Guard_unknown", FACTORY["pin"])
    for nothing in ("nowhere.json", wholly(b""), wholly(b"[1]"), wholly(b"\xff" * 64)):
        who = rescue.identity(nothing)
        assert (who.serial, who.pin, who.variant, who.ssid) == (None, None, None,
                "Amp Guard_unknown")  # fmt: skip


def test_an_identity_cut_at_any_byte_is_refused_and_keeps_what_was_whole():
    with open(factory(), "rb") as file:
        whole = file.read()
    behind_pin = whole.index(FACTORY["pin"].encode()) + len(FACTORY["pin"]) + 1
    for size in range(len(whole)):
        assert "JSON" in raises(ValueError, identity.load, wholly(whole[:size]))
        pin = rescue.identity("factory.json").pin
        assert pin == (FACTORY["pin"] if size >= behind_pin else None), size
    for at in range(len(whole)):
        wholly(whole[:at] + bytes([whole[at] ^ 0x81]) + whole[at + 1 :])
        raises(ValueError, identity.load, "factory.json")
        pin = rescue.identity("factory.json").pin
        assert pin is None or pin == FACTORY["pin"]


def wholly(data):
    with open("factory.json", "wb") as file:
        file.write(data)
    return "factory.json"


# -- settings


real_open = open


class PowerCut(Exception):
    pass


class Flash:
    """The file functions the storage uses, with the power cut at the n-th of their steps; a
    write that is cut leaves its first `torn` bytes."""

    def __init__(self, cut_at, torn=0):
        self.steps = 0
        self.cut_at = cut_at
        self.torn = torn

    def step(self):
        self.steps += 1
        return self.steps == self.cut_at

    def open(self, name, mode="r"):
        if mode != "wb":
            return open(name, mode)
        torn = self.step()
        file = open(name, mode)  # noqa: SIM115 - closed by whoever opened it
        if torn:
            file.close()
            raise PowerCut
        return File(self, file)

    def open_ab(self, name, mode="r"):
        file = real_open(name, mode)
        return File(self, file) if mode == "ab" else file

    def rename(self, old, new):
        if self.step():
            raise PowerCut
        os.rename(old, new)

    def remove(self, name):
        os.remove(name)


class File:
    def __init__(self, flash, file):
        self.flash = flash
        self.file = file

    def __enter__(self):
        return self

    def write(self, data):
        if self.flash.step():
            self.file.write(data[: self.flash.torn])
            self.file.close()
            raise PowerCut
        return self.file.write(data)

    def __exit__(self, *failure):
        self.file.close()


class on_flash:
    def __init__(self, flash):
        self.flash = flash

    def __enter__(self):
        storage.open = self.flash.open
        storage.os = self.flash

    def __exit__(self, *failure):
        del storage.open
        storage.os = os


def wipe(folder="."):
    if folder == "." or folder in os.listdir():
        for name in os.listdir(folder):
            os.remove(folder + "/" + name)


def prepared(history):
    """A flash on which the settings were saved so often, or which an earlier cut left behind."""
    wipe()
    for n in range(history % 3):
        settings.Settings("s.json").update(interval_s=10 + n, wifi_ssid="Hallonstigen 7")
    if history >= 3:
        try:
            with on_flash(Flash(history)):
                settings.Settings("s.json").update(interval_s=20)
        except PowerCut:
            pass
    return settings.Settings("s.json")


def test_a_power_cut_at_any_call_leaves_the_old_settings_or_the_new_ones():
    for history in range(9):
        cut_at = 0
        while True:
            cut_at += 1
            before = prepared(history)
            old = before.interval_s
            flash = Flash(cut_at, torn=13)
            try:
                with on_flash(flash):
                    before.update(interval_s=33)
            except PowerCut:
                pass
            after = settings.Settings("s.json")
            assert after.interval_s in (old, 33), (history, cut_at, after.interval_s)
            assert not after.problems, after.problems
            if before.wifi_ssid:
                assert after.wifi_ssid == before.wifi_ssid
            # and the device goes on from there
            after.update(interval_s=44)
            assert settings.Settings("s.json").interval_s == 44
            if flash.steps < cut_at:
                assert after.problems == []
                assert cut_at > 3
                break


def test_a_power_cut_at_any_byte_leaves_the_old_settings_or_the_new_ones():
    size = 0
    torn = 0
    while torn <= size + 1:
        before = prepared(2)
        try:
            with on_flash(Flash(2, torn)):
                before.update(interval_s=33)
        except PowerCut:
            pass
        size = os.stat("s.json.new")[6] if torn == 0 else size
        size = max(size, os.stat("s.json")[6])
        assert settings.Settings("s.json").interval_s in (11, 33)
        torn += 1
    assert torn > 40


def test_a_damaged_file_falls_back_to_the_copy_before_and_says_so():
    s = settings.Settings("s.json")
    s.update(interval_s=5)
    s.update(interval_s=6)
    with open("s.json", "rb") as file:
        data = bytearray(file.read())
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 4
        with open("s.json", "wb") as file:
            file.write(damaged)
        again = settings.Settings("s.json")
        assert again.interval_s == 5, at
        assert len(again.problems) == 1
        assert "s.json.old" in again.problems[0]
    again.update(interval_s=7)
    assert settings.Settings("s.json").interval_s == 7
    assert not settings.Settings("s.json").problems


def test_without_any_sound_copy_the_defaults_count_and_it_is_said():
    s = settings.Settings("s.json", {"phases": 1})
    assert s.phases == 1
    assert s.problems == []
    s.update(interval_s=5)
    for garbage in (b"", b"{}", b"00000000\n{}", b"\xff" * 300):
        with open("s.json", "wb") as file:
            file.write(garbage)
        s = settings.Settings("s.json", {"phases": 1})
        assert s.interval_s == 1
        assert s.phases == 1
        assert len(s.problems) == 1
        assert "nothing else was left" in s.problems[0]


def test_a_full_flash_changes_nothing_and_leaves_nothing_behind():
    s = settings.Settings("s.json")
    s.update(interval_s=5)

    class Full(Flash):
        def open(self, name, mode="r"):
            if mode == "wb":
                open(name, mode).close()
                raise OSError(28)
            return open(name, mode)

    with on_flash(Full(0)):
        raises(OSError, s.update, interval_s=6)
    assert s.interval_s == 5
    assert settings.Settings("s.json").interval_s == 5
    assert "s.json.new" not in os.listdir()


def test_settings_are_judged_all_before_any_is_changed():
    s = settings.Settings("s.json")
    for name, bad in (
        ("interval_s", 0),
        ("interval_s", 61),
        ("interval_s", True),
        ("interval_s", "5"),
        ("phases", 2),
        ("wifi_ssid", "x" * 33),
        ("wifi_ssid", "\u00e5" * 17),
        ("wifi_ssid", "a\nb"),
        ("wifi_password", "x" * 31),
        ("wifi_password", "sm\u00f6r"),
        ("wifi_password", None),
        ("supply_max_a", 5),
        ("step_a", 1.5),
        ("provider", {"host": "", "port": 1883, "tls": False}),
        ("provider", {"host": "a b", "port": 1883, "tls": False}),
        ("provider", {"host": "a", "port": 1883}),
        ("colour", "red"),
    ):
        changes = {"wifi_ssid": "good", "interval_s": 9}
        changes[name] = bad
        words = raises(ValueError, s.update, **changes)
        assert name in words, words
        assert "expected" in words, words
    assert s.wifi_ssid is None
    assert s.interval_s == 1
    assert os.listdir() == []


def test_a_refused_password_is_not_repeated():
    s = settings.Settings("s.json")
    assert "hunter" not in raises(ValueError, s.update, wifi_password="hunter2" * 5)


def test_what_a_newer_version_stored_is_kept():
    storage.Record("s.json").save({"interval_s": 5, "from_the_future": [1, {"x": None}]})
    s = settings.Settings("s.json")
    assert s.interval_s == 5
    assert not s.problems
    s.update(interval_s=6)
    assert storage.Record("s.json").load() == {
        "interval_s": 6,
        "from_the_future": [1, {"x": None}],
    }


def test_a_stored_value_that_is_no_longer_allowed_gives_way_to_the_default():
    storage.Record("s.json").save({"interval_s": 500, "phases": 1})
    s = settings.Settings("s.json")
    assert s.interval_s == 1
    assert s.phases == 1
    assert "interval_s" in s.problems[0]
    assert "500" in s.problems[0]


def test_an_unchanged_setting_costs_no_write():
    s = settings.Settings("s.json")
    assert s.update(interval_s=5, phases=3) == ["interval_s"]
    with on_flash(Flash(1)):
        assert s.update(interval_s=5) == []


def test_a_better_default_reaches_devices_in_the_field():
    settings.Settings("s.json", {"phases": 3}).update(interval_s=5)
    assert settings.Settings("s.json", {"phases": 1}).phases == 1


# -- log


class Ticks:
    """Time as a test wants it, with the board's wrap at 2**30."""

    def __init__(self, now=0):
        self.now = now
        self.clock = 0

    def ticks_ms(self):
        return self.now & 0x3FFFFFFF

    def ticks_diff(self, end, start):
        return ((end - start + 0x20000000) & 0x3FFFFFFF) - 0x20000000

    def time(self):
        return self.clock

    def gmtime(self, seconds):
        return (2026, 11, 22, 16, 5, seconds % 60, 6, 326)


def quiet(time=None, folder="log"):
    return Log(time or Ticks(), lambda line: None, folder)


def kept(ring, size=100):
    return b"".join(log_lines.pieces(ring, size)).decode()


class opening:
    """Every open() goes another way."""

    def __init__(self, way):
        self.way = way

    def __enter__(self):
        self.real = builtins.open
        builtins.open = self.way

    def __exit__(self, *failure):
        builtins.open = self.real


def wait(ring, time, seconds):
    for _ in range(seconds * 2):
        time.now += 500
        ring.tend()


def test_a_line_says_when_how_bad_where_and_what():
    said = []
    ring = Log(Ticks(12345), said.append)
    ring.warn("link", "no cable")
    assert said == ["12.345 W link: no cable"]
    assert log_lines.last(ring) == said
    ring.error("cloud", "x" * 500)
    assert len(said[1]) == 160
    ring.info("cloud", "two\nlines")
    assert log_lines.last(ring)[2].endswith("two lines")


def test_memory_keeps_the_last_lines_and_never_more_than_its_size():
    time = Ticks()
    ring = quiet(time, None)
    for n in range(100):
        ring.info("cloud", f"{n} " + "x" * (n % 90))
        lines = log_lines.last(ring)
        assert ring.end <= 1024
        assert len(lines[-1]) == len(f"0.000 I cloud: {n} ") + n % 90
        numbers = [int(line.split()[3]) for line in lines]
        assert numbers == list(range(numbers[0], n + 1))
    assert len(log_lines.last(ring)) > 8
    ring.flush()  # without a folder: nothing happens
    assert ring.end


def test_an_info_reaches_the_flash_after_ten_minutes_an_error_after_one():
    time = Ticks(0x3FFFFF00)
    ring = quiet(time)
    ring.info("device", "one")
    wait(ring, time, 599)
    assert os.listdir("log") == []
    wait(ring, time, 1)
    assert "one" in kept(quiet())
    ring.error("device", "two")
    wait(ring, time, 59)
    assert "two" not in kept(quiet())
    wait(ring, time, 1)
    assert "two" in kept(quiet())
    assert ring.written == 2


def test_however_much_is_said_the_flash_is_written_once_a_minute():
    time = Ticks()
    ring = quiet(time)
    for n in range(1200):
        time.now += 500
        for _ in range(3):
            ring.error("cloud", f"trouble {n}")
        ring.tend()
    assert ring.written == 10
    assert " lines lost\n" in kept(ring)
    assert "trouble 1199" in kept(ring)


def test_the_ring_keeps_the_newest_16_kb_and_never_more_than_32():
    time = Ticks()
    ring = quiet(time)
    for n in range(2000):
        ring.info("test", f"line {n}")
        if n % 9 == 8:
            ring.flush()
        sizes = [os.stat("log/" + name)[6] for name in os.listdir("log")]
        assert sum(sizes) <= 32 * 1024
    numbers = [int(line.split()[4]) for line in kept(ring).split("\n") if "line" in line]
    assert numbers == list(range(numbers[0], 2000))
    assert len(numbers) > 16 * 1024 // 30
    assert len(log_lines.last(ring, 2000)) > 50
    assert log_lines.last(ring, 2000)[-1].endswith("line 1999")


def test_each_write_says_its_number_and_the_time_and_goes_on_after_a_restart():
    time = Ticks()
    ring = quiet(time)
    ring.info("a", "b")
    ring.flush()
    assert "-- 1 clock not set\n0.000 I a: b\n" in kept(ring)
    time.clock = 850_000_000
    ring = quiet(time)
    assert ring.written == 1
    ring.info("a", "c")
    ring.flush()
    assert "-- 2 2026-11-22 16:05:40 UTC\n0.000 I a: c\n" in kept(ring)


def test_a_power_cut_at_any_byte_costs_no_line_written_before_and_none_after():
    for history in (0, 550):
        for write in (1, 2):  # the line of its own, the lines
            for torn in (0, 1, 2, 3, 4, 5, 6, 7, 11, 18, 25, 39):
                wipe("log")
                ring = quiet()
                for n in range(history):
                    ring.info("before", str(n))
                    if n % 50 == 49:
                        ring.flush()
                written = ring.written
                ring.info("cut", f"caf\u00e9 {torn}")
                try:
                    with opening(Flash(write, torn).open_ab):
                        ring.flush()
                except PowerCut:
                    pass
                after = quiet()
                assert after.written in (written, written + 1)
                after.warn("after", "the cut")
                after.flush()
                text = log_lines.text(b"".join(log_lines.pieces(after)))
                assert text.count("W after: the cut\n") == 1
                if history:
                    assert f"\n0.000 I before: {history - 1}\n" in text
                assert quiet().written == after.written


def test_a_full_flash_is_a_problem_and_no_exception_and_passes():
    ring = quiet()

    def full(name, mode="r"):
        raise OSError(28)

    ring.info("a", "b")
    with opening(full):
        ring.flush()
    assert "28" in ring.problem
    assert ring.written == 0
    ring.flush()
    assert ring.problem is None
    assert "I a: b" in kept(ring)


def test_the_last_lines_are_whole_and_as_many_as_fit():
    ring = quiet()
    for n in range(30):
        ring.info("test", f"line {n}")
        if n == 20:
            ring.flush()
    for room in range(0, 900, 7):
        lines = log_lines.last(ring, room)
        assert sum(len(line) + 1 for line in lines) <= room + 1
        for line in lines:
            assert line.startswith(("0.000 I test: line", "-- 1 "))
    assert len(log_lines.last(ring, 2000)) == 31


# -- boots


def record():
    return boots.BootRecord("b.json", "crash.txt")


def crash(times, uptime_s):
    for _ in range(times):
        run = record()
        run.boot()
        run.crashed(ValueError("x"), uptime_s)
    run = record()
    run.boot()
    return run


def inner():
    return {}["no such key"]


def test_a_crash_is_kept_for_the_next_run_with_its_cause_in_a_line():
    run = record()
    run.boot()
    assert run.cause is None
    try:
        inner()
    except KeyError as fault:
        kept_it = run.crashed(fault, 77)
    assert kept_it
    record().boot()
    after = record()  # main's own
    assert after.boots == 2
    assert after.crashes == [77]
    assert after.cause == "crash"
    assert "no such key" in after.last_crash()
    words = last_run.words(after)
    assert words.startswith("boot 1, after 77 s: KeyError"), words
    record().boot()
    assert record().cause is None  # told once


def test_a_reset_by_the_watchdog_is_a_cause_too():
    run = record()
    run.boot()
    run.boot(by_watchdog=True)
    assert record().cause == "watchdog"
    assert "hung" in last_run.words(record())


def test_who_hung_is_told_if_the_watchdog_came_and_else_nobody():
    told = []
    heard = Part(say=lambda kind, words: told.append(words))
    note = "hung: after 88 s link had held up all others for 10 s"
    last_run.BootRecord = record
    try:
        record().boot(by_watchdog=True)
        assert last_run.look(note, quiet(None, None), heard)[1] == "watchdog"
        assert told == ["it " + note + "; the watchdog restarted it"]
        record().boot()
        assert last_run.look(note, quiet(None, None), heard)[1:] == (None, None)
        crash(1, 5)
        cause, words = last_run.look(note, quiet(None, None), heard)[1:]
    finally:
        last_run.BootRecord = boots.BootRecord
    assert cause == "crash"
    assert "ValueError" in words


def test_what_the_last_run_ended_with_is_told_as_an_event():
    told = []
    heard = Part(say=lambda kind, words: told.append((kind, words)))
    ring = quiet(None, None)
    last_run.BootRecord = record
    try:
        record().boot()
        assert last_run.look(None, ring, heard) == (1, None, None)
        assert told == []
        assert last_run.look("after 3 s: MemoryError()", ring, heard)[1:] == (
            "crash",
            "after 3 s: MemoryError()",
        )
        crash(1, 5)
        number, cause, words = last_run.look(None, ring, heard)
    finally:
        last_run.BootRecord = boots.BootRecord
    assert (number, cause) == (3, "crash")
    assert "ValueError" in words
    assert [kind for kind, _ in told] == ["crash", "crash"]
    assert told[1][1] == words


def test_a_crash_that_finds_no_room_on_flash_says_so():
    run = record()
    run.boot()

    class Full:
        def save(self, content):
            raise OSError(28)

    run._record = Full()
    assert run.crashed(ValueError("x"), 1) is False
    run.settled()  # nor does this end the run


def test_three_crashes_in_ten_minutes_are_a_crash_loop():
    assert not crash(2, 30).looping
    assert crash(1, 30).looping


def test_crashes_hours_apart_are_no_crash_loop():
    assert not crash(5, 3600).looping


def test_ten_good_minutes_make_crashes_history():
    crash(3, 30)
    parts = {
        "boots": 4,
        "crash": None,
        "clock": Part(unix_ms=lambda: 1_700_000_600_000, first=None, last=None),
        "energy": Part(seq=3000),
        "link": Part(generation=2),
        "log": Part(written=7),
    }
    health.BootRecord = record
    try:
        told = health.look(12345, 40, 599, **parts)
        assert record().looping
        health.look(12345, 40, 600, **parts)
    finally:
        health.BootRecord = boots.BootRecord
    assert told["since"] == 1_700_000_001
    assert told["drift_ppm"] is None
    assert (told["heap_low"], told["late_ms"], told["link_changes"]) == (12345, 40, 2)
    assert told["flash_erases"] == 115
    assert record().crashes == []
    assert not crash(1, 30).looping


def test_a_reset_by_the_watchdog_counts_as_a_crash_once():
    crash(1, 30)
    for expected in (2, 3):
        run = record()
        run.boot(by_watchdog=True)
        assert len(run.crashes) == expected
    assert run.looping
    run.boot()
    run.crashed(ValueError("x"), 30)
    again = record()
    again.boot(by_watchdog=True)
    assert again.crashes == run.crashes


def test_starts_of_safe_mode_are_counted_until_the_device_is_tried_again():
    crash(3, 30)
    record().enter_safe()
    record().enter_safe()
    assert record().safe == 2
    assert record().looping
    record().settled()
    assert record().safe == 0
    assert not record().looping


# -- supervisor


def test_the_watchdog_is_fed_only_while_everybody_shows_life():
    time = Ticks(0x3FFFFF00)  # right before the ticks wrap
    fed = []
    s = supervisor.Supervisor(Part(feed=lambda: fed.append(1)), time, quiet())
    meter = s.beat("meter", 2000)
    uplink = s.beat("uplink", 5000)
    for _ in range(10):
        time.now += 1000
        meter()
        uplink()
        s.step()
    assert len(fed) == 10
    assert s.uptime_s == 10
    for _ in range(5):
        time.now += 1000
        meter()
        s.step()
    time.now += 1000
    meter()
    assert "uplink" in raises(supervisor.Stalled, s.step)
    assert len(fed) == 15
    uplink()
    s.step()
    assert len(fed) == 16


def test_the_longest_silence_of_a_part_is_known():
    time = Ticks(0x3FFFFFF0)
    beat = supervisor.Beat(time)
    for passed in (20, 90, 21):
        time.now += passed
        beat()
    assert beat.worst_ms == 90


def test_a_task_that_keeps_the_turn_is_named_before_the_watchdog_comes():
    time = Ticks(0x3FFFFF00)
    kept = []
    core = Part(cur_task=None)
    before, supervisor._core = supervisor._core, core
    hang.asyncio, asyncio_before = Part(core=core), hang.asyncio
    try:
        s = supervisor.Supervisor(None, time, quiet(), kept.append)
        for name in ("meter", "link"):
            core.cur_task = Part(coro=name)
            s.beat(name, 5000)()
        s.step()
        time.now += 9_000
        s.look_on()
        assert kept == []
        time.now += 2_000
        s.look_on()
        s.look_on()
        assert kept == ["hung: after 0 s link had held up all others for 11 s"]
        core.cur_task = Part(coro="<generator object 'answer' at 3ffe>")
        assert (
            hang.words([], 3, 10_000) == "hung: after 3 s answer had held up all others for 10 s"
        )
    finally:
        supervisor._core = before
        hang.asyncio = asyncio_before


def test_what_a_thread_died_of_ends_the_whole_run():
    s = supervisor.Supervisor(None, Ticks(), quiet())

    def dead():
        raise MemoryError("in the uplink's thread")

    s.watch("uplink", 1000, dead)
    raises(MemoryError, s.step)
