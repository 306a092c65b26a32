"""A firmware in one file, signed: what a running device takes as an update.

    ampguard-bundle 1 006543             format; bytes of the manifest, this line included
    version 0.2.0
    variants home public
    native 10 xtensawin                  sys.implementation._mpy >> 10, and its name
    mpy 6.3
    small-int-bits 31
    image 1.23                           the oldest MicroPython it runs on
    root 1                               what has to lie in the root: `root` of boot.py
    file <SHA-256> <bytes> <path>        one line for each
    <384 bytes: the signature of all lines above>
    <the files, in this order>

The manifest is text by lines, so that a board checks and follows it without holding it. The
signature is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017), 3072 bits, e = 65537: a board verifies it
with 17 multiplications. A board's /update.key is the modulus, 384 bytes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from shipping.compiler import ARCHITECTURES, mpy_version

FORMAT = 1
MANIFEST = "manifest"  # its name in a slot
KEY = "update.key"  # the public key's name on a board
KEY_BYTES = 384
MANIFEST_BYTES = 16384  # a board takes no longer one

_FIRST = re.compile(rb"ampguard-bundle (\d+) (\d{6})\n")
_FIRST_BYTES = 25
_SMALL_INT_BITS = 31
_OLDEST_IMAGE = "1.23"
_ROOT = 1  # as firmware/boot.py has it
_E = 65537


class BundleError(Exception):
    """It can't be made, or it is not what it should be; the words say what and why."""


@dataclass(frozen=True)
class Entry:
    """One file of a bundle."""

    sha256: str
    size: int
    path: str


@dataclass(frozen=True)
class Contents:
    """What a manifest says."""

    version: str
    variants: tuple[str, ...]
    architecture: str
    image: str
    files: tuple[Entry, ...]

    @classmethod
    def of(
        cls,
        files: dict[str, bytes],
        version: str,
        architecture: str,
        variants: tuple[str, ...] = ("home", "public"),
    ) -> Contents:
        """files: paths within a slot, and their bytes. main.mpy comes last."""
        if not re.fullmatch(r"\d{1,5}(\.\d{1,5}){2}", version):
            raise BundleError(f"version {version!r}: expected three numbers, like 0.2.0")
        for path in files:
            if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", path) or ".." in path.split("/"):
                raise BundleError(f"{path!r}: expected a path of plain names")
        entries = [
            Entry(hashlib.sha256(data).hexdigest(), len(data), path)
            for path, data in sorted(files.items(), key=lambda f: (f[0] == "main.mpy", f[0]))
        ]
        return cls(version, variants, architecture, _OLDEST_IMAGE, tuple(entries))

    def text(self) -> bytes:
        number = next(n for n, name in ARCHITECTURES.items() if name == self.architecture)
        lines = [
            f"version {self.version}",
            "variants " + " ".join(self.variants),
            f"native {number} {self.architecture}",
            f"mpy {mpy_version()}",
            f"small-int-bits {_SMALL_INT_BITS}",
            f"image {self.image}",
            f"root {_ROOT}",
            *(f"file {entry.sha256} {entry.size} {entry.path}" for entry in self.files),
        ]
        body = "".join(line + "\n" for line in lines).encode()
        size = _FIRST_BYTES + len(body)
        if size > MANIFEST_BYTES:
            raise BundleError(f"{len(self.files)} files are too many for one manifest")
        return b"ampguard-bundle %d %06d\n" % (FORMAT, size) + body

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files)


@dataclass(frozen=True)
class Bundle:
    """A bundle taken apart; `faults()` says what is wrong with it."""

    contents: Contents
    manifest: bytes
    signature: bytes
    blob: bytes

    @classmethod
    def parse(cls, data: bytes) -> Bundle:
        first = _FIRST.match(data)
        if not first:
            raise BundleError("this is no bundle of the Amp Guard")
        if int(first[1]) != FORMAT:
            raise BundleError(f"it has the format {int(first[1])}, expected {FORMAT}")
        end = int(first[2])
        manifest = data[:end]
        if len(data) < end + KEY_BYTES:
            raise BundleError("it is cut short: the signature is missing")
        fields: dict[str, list[str]] = {}
        files = []
        for line in manifest.decode(errors="replace").splitlines()[1:]:
            words = line.split()
            if len(words) == 4 and words[0] == "file" and words[2].isdecimal():
                files.append(Entry(words[1], int(words[2]), words[3]))
            elif len(words) > 1 and words[0] != "file":
                fields[words[0]] = words[1:]
            else:
                raise BundleError(f"its manifest has a line that makes no sense: {line!r}")
        try:
            contents = Contents(
                fields["version"][0],
                tuple(fields["variants"]),
                fields["native"][1],
                fields["image"][0],
                tuple(files),
            )
        except (KeyError, IndexError) as error:
            raise BundleError(f"its manifest lacks {error}") from error
        signature = data[end : end + KEY_BYTES]
        return cls(contents, manifest, signature, data[end + KEY_BYTES :])

    def damage(self) -> str | None:
        """What is wrong with the files, if anything; the signature covers the manifest alone."""
        at = 0
        for entry in self.contents.files:
            piece = self.blob[at : at + entry.size]
            if len(piece) < entry.size:
                return f"it is cut short in {entry.path}"
            if hashlib.sha256(piece).hexdigest() != entry.sha256:
                return f"{entry.path} is not what the manifest says"
            at += entry.size
        return f"{len(self.blob) - at} bytes too many at its end" if at < len(self.blob) else None

    def signed_by(self, key: bytes) -> bool:
        """key: what a board has as /update.key."""
        number = rsa.RSAPublicNumbers(_E, int.from_bytes(key, "big"))
        try:
            number.public_key().verify(
                self.signature, self.manifest, padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            return False
        return True


def bundle(contents: Contents, files: dict[str, bytes], key: rsa.RSAPrivateKey) -> bytes:
    """The whole file."""
    manifest = contents.text()
    signature = key.sign(manifest, padding.PKCS1v15(), hashes.SHA256())
    return manifest + signature + b"".join(files[entry.path] for entry in contents.files)


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(_E, KEY_BYTES * 8)


def public(key: rsa.RSAPrivateKey) -> bytes:
    """The public key as a board has it."""
    return key.public_key().public_numbers().n.to_bytes(KEY_BYTES, "big")


def private_pem(key: rsa.RSAPrivateKey, password: bytes | None) -> bytes:
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        protection = serialization.BestAvailableEncryption(password)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
    )


def load_private(file: Path, password: bytes | None) -> rsa.RSAPrivateKey:
    """BundleError if it is none of ours, or needs another password."""
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password)
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}") from error
    except TypeError as error:  # a password is missing, or there is none to give
        raise BundleError(f"{file}: {error}") from error
    except ValueError as error:
        raise BundleError(f"{file}: no private key in PEM, or the password is wrong") from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != KEY_BYTES * 8:
        raise BundleError(f"{file}: expected an RSA key of {KEY_BYTES * 8} bits")
    if key.public_key().public_numbers().e != _E:
        raise BundleError(f"{file}: expected a key with e = {_E}")
    return key


def load_public(file: Path) -> bytes:
    """The bytes of a board's /update.key. BundleError if they can't be."""
    try:
        key = file.read_bytes()
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}") from error
    if len(key) != KEY_BYTES or not key[0] & 0x80 or not key[-1] & 1:
        raise BundleError(f"{file}: expected the {KEY_BYTES} bytes of a .key that keygen wrote")
    return key
