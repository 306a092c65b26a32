"""Whether a bundle is signed by who may: RSASSA-PKCS1-v1_5 with SHA-256 and e = 65537, as in RFC
8017, 8.2.2: the encoded message is made anew and compared whole, nothing of it is parsed.

In: the modulus, the digest, the signature (bytes). Out: True or False, of a generator that hands
over between its seventeen multiplications: each holds the interpreter for milliseconds.
"""

# DigestInfo of SHA-256 up to the digest, RFC 8017, 9.2, note 1.
_PREFIX = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"


def verify(modulus, digest, signature):
    size = len(modulus)
    n = int.from_bytes(modulus, "big")
    s = int.from_bytes(signature, "big")
    if len(signature) != size or s >= n:
        return False
    modulus = signature = None  # both are there as numbers, and memory is short
    power = s
    for _ in range(16):
        power = power * power % n
        yield
    power = power * s % n
    padding = b"\xff" * (size - 3 - len(_PREFIX) - len(digest))
    wanted = b"\x00\x01" + padding + b"\x00" + _PREFIX + digest
    return power == int.from_bytes(wanted, "big")
