"""Safe mode's page, on CPython and on the MicroPython VMs; and its rule of who may change
something beside the portal's, whose code it does not use."""

from itertools import product
from types import SimpleNamespace

import pytest
from cloud_bench import on_every_interpreter, run_same

from device import safe_page
from provisioning import routes


@on_every_interpreter("same_safe_page")
def test(name, interpreter, tmp_path):
    run_same("same_safe_page", name, interpreter, tmp_path)


HOSTS = ("192.168.251.1", "127.0.0.1:8080", "localhost")
PLACES = ("", "null", "http://evil.example", *(f"http://{host}" for host in HOSTS))


@pytest.mark.parametrize(("host", "origin"), list(product(HOSTS, PLACES)))
def test_who_may_change_something_is_the_portals_rule(host, origin):
    for referer in (*PLACES, f"http://{host}/", f"http://{host}/wiring", f"http://{host}.evil/"):
        sent = {"Host": host, "Origin": origin, "Referer": referer}
        sent = {name: value for name, value in sent.items() if value}
        head = "\r\n".join(["POST /retry HTTP/1.1", *(f"{n}: {v}" for n, v in sent.items())])
        allowed = routes.from_own_page(SimpleNamespace(headers=sent))
        assert safe_page.from_page_of(host.encode(), head.encode()) == allowed, sent
