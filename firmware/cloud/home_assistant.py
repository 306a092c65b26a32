"""What Home Assistant is told so that it finds the device and its values by itself: one retained
message for the whole device, made and sent piece by piece, so that it needs no heap.

In: the fields of `info`. Out: topic and pieces. Loaded while it is being sent. Needs Home
Assistant 2024.11 or newer: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
and .../sensor.mqtt name the fields, their short forms too.
"""

import json

# name in the payload, words, device class, unit, state class, digits to show behind the point,
# topic if not `measurement`
_SITE = (
    ("net_imp", "Import", "energy", "Wh", "total_increasing", 0, "energy"),
    ("net_exp", "Export", "energy", "Wh", "total_increasing", 0, "energy"),
    ("p_total", "Power", "power", "W", "measurement", 0, None),
    ("f", "Frequency", "frequency", "Hz", "measurement", 2, None),
)
_PHASE = (
    ("i", "Current L%d", "current", "A", "measurement", 1, None),
    ("u", "Voltage L%d", "voltage", "V", "measurement", 1, None),
    ("p", "Power L%d", "power", "W", "measurement", 0, None),
    ("pf", "Power factor L%d", "power_factor", None, "measurement", 2, None),
    ("imp", "Import L%d", "energy", "Wh", "total_increasing", 0, "energy"),
    ("exp", "Export L%d", "energy", "Wh", "total_increasing", 0, "energy"),
)


def announcement(info, interval_s, wanted):
    """(topic, message): a function that returns the pieces, or an empty text, which takes the
    device away, where it is not `wanted`."""
    serial = info["serial"]
    topic = "homeassistant/device/%s/config" % serial
    if not wanted:
        return topic, ""
    known = (serial, info["variant"], info["firmware"], info["phases"], max(10, 3 * interval_s))
    return topic, lambda: _pieces(*known)


def _pieces(serial, variant, firmware, phases, expire_s):
    root = "ampguard/%s/" % serial
    about = (serial, expire_s)
    yield '{"dev":%s,"o":{"name":"Amp Guard","sw":%s},' % (
        json.dumps(
            {
                "ids": ["ampguard_" + serial],
                "name": "Amp Guard " + serial[-6:-1],
                "mf": "Amp Guard",
                "mdl": variant,
                "sn": serial,
                "sw": firmware,
            }
        ),
        json.dumps(firmware),
    )
    # What is said here holds for every value that says nothing else.
    yield '"stat_t":"%smeasurement","avty_t":"%sstatus",' % (root, root)
    yield '"avty_tpl":"{{ \'online\' if value_json.online else \'offline\' }}","cmps":{'
    comma = ""
    for value in _SITE:
        yield comma + _value(value[0], value[1], value[0], value[2:], about)
        comma = ","
    for phase in range(3):
        for value in _PHASE:  # type: ignore[assignment]
            name = "%s_l%d" % (value[0], phase + 1)
            if phase < phases:
                words = value[1] % (phase + 1)
                where = "%s[%d]" % (value[0], phase)
                yield comma + _value(name, words, where, value[2:], about)
            else:  # takes back what was announced while the site had it
                yield ',"%s":{"p":"sensor"}' % name
    yield "}}"


def _value(name, words, where, kind, about):
    """`where` in the payload it is found; `kind` the last five of a line above."""
    device_class, unit, state_class, digits, topic = kind
    serial, expire_s = about
    rest = '"exp_aft":%d' % expire_s
    if topic:  # comes once a minute, and stays true
        rest = '"stat_t":"ampguard/%s/%s"' % (serial, topic)
    if unit:
        rest += ',"unit_of_meas":"%s"' % unit
    return (
        '"%s":{"p":"sensor","name":"%s","uniq_id":"ampguard_%s_%s","dev_cla":"%s",'
        '"stat_cla":"%s","sug_dsp_prc":%d,"val_tpl":"{{ value_json.%s }}",%s}'
        % (name, words, serial, name, device_class, state_class, digits, where, rest)
    )
