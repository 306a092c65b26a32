"""identity, settings, storage, log, supervisor: sentences that hold on every interpreter."""

import json
import os

from expect import Part, raises

from device import identity, settings, storage, supervisor
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


# -- settings


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


def wipe():
    for name in os.listdir():
        os.remove(name)


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

    def ticks_ms(self):
        return self.now & 0x3FFFFFFF

    def ticks_diff(self, end, start):
        return ((end - start + 0x20000000) & 0x3FFFFFFF) - 0x20000000


def test_the_log_keeps_its_last_lines_in_order_and_bounded():
    said = []
    kept = Log(Ticks(12345), said.append)
    kept.warn("link", "no cable")
    assert said == ["12.345 W link: no cable"]
    assert kept.lines() == said
    for n in range(100):
        kept.info("cloud", "x" * 500 + str(n))
    assert len(kept.lines()) == kept.kept
    assert max(len(line) for line in kept.lines()) == kept.width
    kept.error("cloud", "last")
    assert kept.lines()[-1].endswith("last")


# -- supervisor


def quiet():
    return Log(Ticks(), lambda line: None)


def test_the_watchdog_is_fed_only_while_everybody_shows_life():
    time = Ticks(0x3FFFFF00)  # right before the ticks wrap
    fed = []
    boots = supervisor.BootRecord("b.json", "crash.txt")
    s = supervisor.Supervisor(Part(feed=lambda: fed.append(1)), time, boots, quiet())
    meter = s.beat("meter", 2000)
    uplink = s.beat("uplink", 5000)
    for _ in range(10):
        time.now += 1000
        meter()
        uplink()
        s.step()
    assert len(fed) == 10
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


def test_a_crash_is_kept_for_the_next_run():
    boots = supervisor.BootRecord("b.json", "crash.txt")
    boots.boot()
    try:
        {}["no such key"]
    except KeyError as fault:
        boots.crashed(fault, 77)
    after = supervisor.BootRecord("b.json", "crash.txt")
    after.boot()
    assert after.boots == 2
    assert after.crashes == [77]
    assert "boot 1, after 77 s" in after.last_crash()
    assert "no such key" in after.last_crash()


def crash(times, uptime_s):
    for _ in range(times):
        boots = supervisor.BootRecord("b.json", "crash.txt")
        boots.boot()
        boots.crashed(ValueError("x"), uptime_s)
    boots = supervisor.BootRecord("b.json", "crash.txt")
    boots.boot()
    return boots


def test_three_crashes_in_ten_minutes_are_a_crash_loop():
    assert not crash(2, 30).looping
    assert crash(1, 30).looping


def test_crashes_hours_apart_are_no_crash_loop():
    assert not crash(5, 3600).looping


def test_ten_good_minutes_make_crashes_history():
    crash(2, 30)
    boots = supervisor.BootRecord("b.json", "crash.txt")
    time = Ticks()
    s = supervisor.Supervisor(None, time, boots, quiet())
    for _ in range(1199):
        time.now += 500
        s.step()
    assert boots.crashes == [30, 30]
    time.now += 500
    s.step()
    assert boots.crashes == []
    assert not crash(1, 30).looping


def test_a_reset_by_the_watchdog_counts_as_a_crash_once():
    crash(1, 30)
    for expected in (2, 3):
        boots = supervisor.BootRecord("b.json", "crash.txt")
        boots.boot(by_watchdog=True)
        assert len(boots.crashes) == expected
    assert boots.looping
    boots.boot()
    boots.crashed(ValueError("x"), 30)
    again = supervisor.BootRecord("b.json", "crash.txt")
    again.boot(by_watchdog=True)
    assert again.crashes == boots.crashes


def test_what_a_thread_died_of_ends_the_whole_run():
    time = Ticks()
    boots = supervisor.BootRecord("b.json", "crash.txt")
    s = supervisor.Supervisor(None, time, boots, quiet())

    def dead():
        raise MemoryError("in the uplink's thread")

    s.watch("uplink", 1000, dead)
    raises(MemoryError, s.step)
