"""RSASSA-PKCS1-v1_5: sentences that hold on every interpreter."""

import json

from cloud.signature import verify


def judged(modulus, digest, signature):
    work = verify(modulus, digest, signature)
    turns = 0
    try:
        while True:
            next(work)
            turns += 1
    except StopIteration as end:
        return end.value, turns


def test_each_case_is_judged_as_expected():
    with open("cases.json") as file:
        for case in json.load(file):
            found, turns = judged(
                bytes.fromhex(case["n"]), bytes.fromhex(case["digest"]), bytes.fromhex(case["s"])
            )
            assert found is case["good"], case["name"]
            assert turns in (0, 16), case["name"]  # it hands over between multiplications
