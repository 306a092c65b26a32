# The image's `esp32`: what the firmware may use of it (ports/esp32/esp32_nvs.c, modesp32.c).
# NVS lives in a file beside the flash folder, as it lives in a partition of its own.
import json as _json

from _board import HOST as _HOST
from _board import config as _config
from micropython import const as _const

HEAP_DATA = 4
HEAP_EXEC = 1
_NOT_FOUND = _const(-4354)  # ESP_ERR_NVS_NOT_FOUND
_INVALID_NAME = _const(-4358)
_INVALID_LENGTH = _const(-4364)
_KEY_TOO_LONG = _const(-4361)
_path = _config.get("nvs")
_spaces = {}
if _path:
    try:
        with _HOST.open(_path, "r") as f:
            _spaces = _json.load(f)
    except OSError:
        pass


def _error(code, name):
    return OSError(code, name)


class NVS:
    def __init__(self, _namespace):
        if not 0 < len(_namespace) <= 15:
            raise _error(_INVALID_NAME, "ESP_ERR_NVS_INVALID_NAME")
        self._values = _spaces.setdefault(_namespace, {})

    def _get(self, kind, key):
        if len(key) > 15:
            raise _error(_KEY_TOO_LONG, "ESP_ERR_NVS_KEY_TOO_LONG")
        try:
            return self._values[kind + key]
        except KeyError:
            raise _error(_NOT_FOUND, "ESP_ERR_NVS_NOT_FOUND")

    def _set(self, kind, key, value):
        if not 0 < len(key) <= 15:
            raise _error(_KEY_TOO_LONG, "ESP_ERR_NVS_KEY_TOO_LONG")
        self._values[kind + key] = value
        if _path:
            # Every set is written at once on the board too; commit() only makes it certain.
            with _HOST.open(_path + ".new", "w") as f:
                _json.dump(_spaces, f)
            _HOST.rename(_path + ".new", _path)

    def set_i32(self, _key, _value):
        if not -0x80000000 <= _value <= 0x7FFFFFFF:
            raise OverflowError("overflow converting long int to machine word")
        self._set("i", _key, _value)

    def get_i32(self, _key):
        return self._get("i", _key)

    def set_blob(self, _key, _value):
        if isinstance(_value, str):
            _value = _value.encode()
        self._set("b", _key, bytes(_value).hex())

    def get_blob(self, _key, _buffer):
        value = bytes.fromhex(self._get("b", _key))
        if len(value) > len(_buffer):
            raise _error(_INVALID_LENGTH, "ESP_ERR_NVS_INVALID_LENGTH")
        _buffer[: len(value)] = value
        return len(value)

    def erase_key(self, _key):
        found = False
        for kind in "ib":
            if kind + _key in self._values:
                del self._values[kind + _key]
                found = True
        if not found:
            raise _error(_NOT_FOUND, "ESP_ERR_NVS_NOT_FOUND")
        self.commit()

    def commit(self):
        if _path:
            with _HOST.open(_path + ".new", "w") as f:
                _json.dump(_spaces, f)
            _HOST.rename(_path + ".new", _path)


class Partition:
    BOOT = 0
    RUNNING = 1
    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, _id):
        if _id not in (Partition.BOOT, Partition.RUNNING, "factory"):
            raise OSError(2)

    @staticmethod
    def mark_app_valid_cancel_rollback():
        # The stock image has one app partition: nothing to roll back to.
        raise OSError(-261, "ESP_ERR_NOT_SUPPORTED")

    def info(self):
        return (0, 0, 0x10000, 0x1F0000, "factory", False)


def idf_heap_info(capabilities):
    # (total, free, largest free block, lowest free) of each region: typical of a running board.
    if capabilities == HEAP_DATA:
        return [(169000, 96000, 65536, 81000)]
    return [(113840, 84000, 47104, 84000)]


def raw_temperature():
    return 106
