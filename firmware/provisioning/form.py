"""What may be asked of the form: a network's name and password, checked before anything is tried.

In: the fields as strings. Out: None, or the key of the words that say what is wrong.
"""

LONGEST_PASSWORD = 30  # what the radio's firmware takes safely; the settings hold the same limit


def complaint(ssid, password, secured, agreed):
    """Checks a name, a password, `secured` (True, False or None = the network was not seen) and
    `agreed` (the open network's warning was ticked). Returns a key of provisioning/text or None.
    """
    if not ssid:
        return "err_ssid_empty"
    if len(ssid.encode()) > 32:
        return "err_ssid_long"
    if any(letter < " " or letter == "\x7f" for letter in ssid):
        return "err_ssid_odd"
    if not password:
        if secured:
            return "err_needs_password"
        return None if agreed else "open_warning"
    if any(not " " <= letter <= "~" for letter in password):
        return "err_password_odd"
    if len(password) < 8:
        return "err_password_short"
    if len(password) > LONGEST_PASSWORD:
        return "err_password_long"
    return "err_no_password" if secured is False else None


def chosen(fields):
    """(ssid, password, agreed) out of the form's fields, anything with get(name, default).

    A typed name wins over a picked one: without script both may be there.
    """
    ssid = fields.get("ssid", "") or fields.get("pick", "")
    return ssid, fields.get("password", ""), fields.get("open", "") == "yes"


def from_own_page(host, origin, referer):
    """May this post change something? The page's origin, or a client that names none at all.

    Browsers always name the origin of a form they post, so another site can't get past this;
    "null" is what a site sends that hides behind a sandbox.
    """
    if origin:
        return origin == "http://" + host
    return not referer or referer.startswith("http://" + host + "/")
