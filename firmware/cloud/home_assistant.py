"""What Home Assistant is told so that it finds the device's values by itself: MQTT discovery, one
retained message for each value, so that none needs much heap.

In: which one, the fields of `info`. Out: topic and payload. Loaded while they are being sent.
https://www.home-assistant.io/integrations/sensor.mqtt names the fields, their short forms too.
"""

import json

# name in the payload, words, device class, unit, state class, topic; `%s` is the phase.
_PHASE = (
    ("i", "Current L%s", "current", "A", "measurement", "measurement"),
    ("u", "Voltage L%s", "voltage", "V", "measurement", "measurement"),
    ("p", "Power L%s", "power", "W", "measurement", "measurement"),
    ("pf", "Power factor L%s", "power_factor", None, "measurement", "measurement"),
    ("imp", "Import L%s", "energy", "Wh", "total_increasing", "energy"),
    ("exp", "Export L%s", "energy", "Wh", "total_increasing", "energy"),
)
_SITE = (
    ("f", "Frequency", "frequency", "Hz", "measurement", "measurement"),
    ("net_imp", "Import", "energy", "Wh", "total_increasing", "energy"),
    ("net_exp", "Export", "energy", "Wh", "total_increasing", "energy"),
)


def message(number, info, interval_s, wanted):
    """(topic, payload) of the number-th value, None behind the last. The payload is empty, which
    takes the value away, where the site has no such phase or discovery is not `wanted`."""
    phase, kind = divmod(number, len(_PHASE))
    if phase < 3:
        field, words, device_class, unit, state_class, topic = _PHASE[kind]
        words %= phase + 1
        name = "%s_l%d" % (field, phase + 1)
        template = "{{ value_json.%s[%d] }}" % (field, phase)
    elif kind < len(_SITE):
        name, words, device_class, unit, state_class, topic = _SITE[kind]
        template = "{{ value_json.%s }}" % name
    else:
        return None
    serial = info["serial"]
    where = "homeassistant/sensor/%s/%s/config" % (serial, name)
    if not wanted or (phase < 3 and phase >= info["phases"]):
        return where, ""
    root = "ampguard/%s/" % serial
    config = {
        "name": words,
        "uniq_id": "ampguard_%s_%s" % (serial, name),
        "stat_t": root + topic,
        "val_tpl": template,
        "dev_cla": device_class,
        "stat_cla": state_class,
        "avty_t": root + "status",
        "avty_tpl": "{{ 'online' if value_json.online else 'offline' }}",
        "dev": {
            "ids": ["ampguard_" + serial],
            "name": "Amp Guard " + serial[-6:-1],
            "mf": "Amp Guard",
            "mdl": info["variant"],
            "sn": serial,
            "sw": info["firmware"],
        },
    }
    if unit:
        config["unit_of_meas"] = unit
    if topic == "measurement":
        config["exp_aft"] = max(10, 3 * interval_s)
    return where, json.dumps(config)
