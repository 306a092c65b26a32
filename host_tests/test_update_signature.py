"""The board's verifier beside PyPI's cryptography: the same verdict on good signatures and on the
kinds of bad padding that verifiers have been known to take (Wycheproof's list)."""

import hashlib
import json
import secrets
import sys
from pathlib import Path

import pytest
from cloud_bench import INTERPRETERS, run_same
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from update_bench import key

sys.path.insert(0, str(Path(__file__).resolve().parent / "cloud_vm"))

PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")
SIZE = 384
MESSAGE = b"version 0.2.0"
DIGEST = hashlib.sha256(MESSAGE).digest()


def encoded(info: bytes, head: bytes = b"\x00\x01", fill: bytes = b"\xff") -> bytes:
    length = SIZE - len(head) - 1 - len(info)
    return head + (fill * length)[:length] + b"\x00" + info


def bad_encodings() -> dict[str, bytes]:
    info = PREFIX + DIGEST
    good = encoded(info)
    short = b"\x00\x01" + b"\xff" * 8 + b"\x00" + info
    rest = secrets.token_bytes(SIZE - len(short))
    sha1 = bytes.fromhex("3021300906052b0e03021a05000414") + hashlib.sha1(MESSAGE).digest()
    no_null = bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20" + DIGEST
    long_form = b"\x30\x81\x31" + PREFIX[2:] + DIGEST
    indefinite = b"\x30\x80" + PREFIX[2:] + DIGEST + b"\x00\x00"
    return {
        "digest of something else": encoded(PREFIX + hashlib.sha256(b"other").digest()),
        "garbage behind a short padding (Bleichenbacher 2006)": short + rest,
        "garbage in the padding": good[:100] + b"\x00" + good[101:],
        "garbage within the parameters (CVE-2006-4340)": encoded(
            b"\x30\x35" + PREFIX[2:15] + b"\x05\x04abcd" + b"\x04\x20" + DIGEST
        ),
        "block type 2": encoded(info, b"\x00\x02"),
        "block type 0": encoded(info, b"\x00\x00"),
        "first byte 1": b"\x01" + good[1:],
        "padding of zeros": encoded(info, fill=b"\x00"),
        "no zero before the digest": good[: -len(info) - 1] + b"\xff" + info,
        "no NULL": encoded(no_null),
        "long form length": encoded(long_form),
        "indefinite length": encoded(indefinite),
        "SHA-1": encoded(sha1),
        "raw digest": encoded(DIGEST),
        "trailing byte": encoded(info + b"\x00"),
        "digest cut": encoded(info[:-1]),
        "seven bytes of padding": b"\x00" * (SIZE - len(short) + 1)
        + b"\x00\x01" + b"\xff" * 7 + b"\x00" + info,
        "all zero": bytes(SIZE),
        "all one": bytes(SIZE - 1) + b"\x01",
    }  # fmt: skip


def theirs(public: rsa.RSAPublicKey, signature: bytes, message: bytes = MESSAGE) -> bool:
    try:
        public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


@pytest.fixture(scope="module")
def cases() -> list[dict[str, object]]:
    private = key(0)
    numbers = private.private_numbers()
    n, d = numbers.public_numbers.n, numbers.d
    good = private.sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    signatures = {
        "good": good,
        "by another key": key(1).sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256()),
        "empty": b"",
        "short": good[1:],
        "long": b"\x00" + good,
        "zero": bytes(SIZE),
        "one": bytes(SIZE - 1) + b"\x01",
        "the modulus": n.to_bytes(SIZE, "big"),
        "as if unreduced": (int.from_bytes(good, "big") + n).to_bytes(SIZE + 1, "big"),
        "negated": (n - int.from_bytes(good, "big")).to_bytes(SIZE, "big"),
    }
    for bit in (0, 7, 1500, 3071):
        flipped = int.from_bytes(good, "big") ^ 1 << bit
        signatures[f"bit {bit} flipped"] = flipped.to_bytes(SIZE, "big")
    for name, block in bad_encodings().items():
        assert len(block) == SIZE, name
        signed = pow(int.from_bytes(block, "big") % n, d, n)
        signatures[name] = signed.to_bytes(SIZE, "big")
    public = private.public_key()
    found = [
        {
            "name": name,
            "n": n.to_bytes(SIZE, "big").hex(),
            "digest": DIGEST.hex(),
            "s": signature.hex(),
            "good": theirs(public, signature),
        }
        for name, signature in signatures.items()
    ]
    for number in range(500):  # one that fits into as many bytes with the modulus added
        message = b"message %d" % number
        signature = private.sign(message, padding.PKCS1v15(), hashes.SHA256())
        if (larger := int.from_bytes(signature, "big") + n) < 1 << 8 * SIZE:
            unreduced = larger.to_bytes(SIZE, "big")
            found.append(
                found[0]
                | {
                    "name": "unreduced",
                    "digest": hashlib.sha256(message).hexdigest(),
                    "s": unreduced.hex(),
                    "good": theirs(public, unreduced, message),
                }
            )
            break
    assert [case["name"] for case in found if case["good"]] == ["good"]
    return found


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_it_takes_what_is_signed_and_nothing_else(
    interpreter: str, cases: list[dict[str, object]], tmp_path: Path
) -> None:
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    run_same("same_signature", "test_each_case_is_judged_as_expected", interpreter, tmp_path)
