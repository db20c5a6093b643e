"""Encryption of stored values at rest, by the keys of DBOS["ENCRYPTION"].

An encrypted value is stored as `!encrypted:<key id>:<base64>`, where the base64 holds, one after
the other: 4 bytes that tell keys with the same id apart, a salt of 12 bytes, a nonce of 12 bytes,
and the ciphertext of AES-256-GCM with its tag. The AES key is derived from the named key and the
salt (HKDF-SHA256). Each process writes under a random salt of its own, and counts its nonces, so
that no two values have the same of both; random nonces would cost a system call each.

The ciphertext isn't bound to its row. The engine copies texts between rows in SQL, unread: a
message becomes the outcome of a step, a result that of the step which awaited it, a history that of
a fork. So those who can write to the tables can exchange values, as they can change any status;
they can't read a value, or make one.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import itertools
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from django_dbos import conf
from django_dbos.conf import Settings
from django_dbos.core import compound
from django_dbos.exceptions import EncryptionKeyMissing, SerializationError

PREFIX = "!encrypted:"

_CHECK, _SALT, _NONCE, _TAG = 4, 12, 12, 16
# The values of one process under one salt.
_VALUES_PER_SALT = 2**28

MISSING = (
    "Encryption needs the cryptography package: pip install 'django-durable-workflows[encryption]'."
)


class _Writer:
    """The writer under one salt: its cipher, and the count of its nonces."""

    def __init__(self, encrypt: Callable[[bytes, bytes, None], bytes], beginning: bytes) -> None:
        self._encrypt = encrypt
        self._beginning = beginning
        # next() is atomic: no two threads get the same number.
        self._numbers = itertools.count()
        self.is_used_up = False

    def sealed(self, text: bytes) -> bytes:
        """Return the data of a value."""
        number = next(self._numbers)
        self.is_used_up = number >= _VALUES_PER_SALT - 1
        nonce = number.to_bytes(_NONCE, "big")
        return self._beginning + nonce + self._encrypt(nonce, text, None)


class Keyring:
    """The keys of one set of settings, by id."""

    def __init__(self, keys: dict[str, bytes], primary: str | None) -> None:
        self._keys = keys
        self.primary = primary
        """The id of the key that encrypts new values; None leaves them plain."""
        self._checks = {key_id: _derived(key, b"check")[:_CHECK] for key_id, key in keys.items()}
        self._cipher_of = lru_cache(maxsize=1024)(self._make_cipher)
        self._writer: _Writer | None = None

    @property
    def key_ids(self) -> list[str]:
        """The ids of all keys."""
        return list(self._keys)

    def encrypt(self, text: str) -> str:
        """Return a text, encrypted by the primary key."""
        writer = self._writer
        if writer is None or writer.is_used_up:
            writer = self._writer = self._new_writer()
        data = binascii.b2a_base64(writer.sealed(text.encode()), newline=False)
        return f"{PREFIX}{self.primary}:{data.decode('ascii')}"

    def decrypt(self, stored: str) -> str:
        """Return the text that was encrypted.

        Raises:
            EncryptionKeyMissing: Its key isn't here.
            SerializationError: It was altered, or isn't whole.
        """
        key_id, _, encoded = stored[len(PREFIX) :].partition(":")
        if key_id not in self._keys:
            raise EncryptionKeyMissing(key_id)
        try:
            data = binascii.a2b_base64(encoded, strict_mode=True)
        except ValueError:
            raise _damaged(key_id) from None
        if len(data) < _CHECK + _SALT + _NONCE + _TAG:
            raise _damaged(key_id)
        if data[:_CHECK] != self._checks[key_id]:
            # Another key has this id where the value was written.
            raise EncryptionKeyMissing(key_id)
        salt, rest = data[_CHECK : _CHECK + _SALT], data[_CHECK + _SALT :]
        try:
            opened = self._cipher_of(key_id, salt).decrypt(rest[:_NONCE], rest[_NONCE:], None)
        except _invalid_tag():
            raise _damaged(key_id) from None
        return bytes(opened).decode()

    def has_key_of(self, key_id: str) -> bool:
        """Return whether a key has this id."""
        return key_id in self._keys

    def digest(self, text: str) -> str:
        """Return a digest of a text that only holders of the primary key can compute.

        Its beginning, a "k" and three characters, tells digests by different keys apart.
        """
        assert self.primary is not None
        key = _derived(self._keys[self.primary], b"fingerprint")
        made = hashlib.blake2b(text.encode(), digest_size=6, key=key[:32]).hexdigest()
        return f"k{self._checks[self.primary].hex()[:3]}{made}"

    def _new_writer(self) -> _Writer:
        assert self.primary is not None
        salt = os.urandom(_SALT)
        cipher = self._make_cipher(self.primary, salt)
        return _Writer(cipher.encrypt, self._checks[self.primary] + salt)

    def _make_cipher(self, key_id: str, salt: bytes) -> Any:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise ImproperlyConfigured(MISSING) from error
        return AESGCM(_derived(self._keys[key_id], b"value", salt))


def get_keyring() -> Keyring | None:
    """Return the keys of DBOS["ENCRYPTION"]; None without that setting."""
    global _latest
    settings = conf.get_settings()
    known = _latest
    if known is None or known[0] is not settings:
        given = settings.encryption
        ring = None if given is None else Keyring(dict(given.keys), given.primary)
        known = _latest = (settings, ring)
    return known[1]


_latest: tuple[Settings, Keyring | None] | None = None


def _forget_in_child() -> None:
    """Have a forked process write under a salt of its own."""
    global _latest
    _latest = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def is_on() -> bool:
    """Return whether new values are encrypted."""
    ring = get_keyring()
    return ring is not None and ring.primary is not None


def protect(text: str) -> str:
    """Return a value's text as it is stored: encrypted if there is a primary key."""
    ring = get_keyring()
    return text if ring is None or ring.primary is None else ring.encrypt(text)


def decrypt(stored: str) -> str:
    """Return the text of an encrypted value; see Keyring.decrypt()."""
    ring = get_keyring()
    if ring is None:
        raise EncryptionKeyMissing(key_id_of(stored))
    return ring.decrypt(stored)


def key_id_of(stored: str) -> str:
    """Return the id of the key by which a text is encrypted that begins with PREFIX."""
    return stored[len(PREFIX) :].partition(":")[0]


def key_ids_in(stored: str) -> set[str]:
    """Return the ids of the keys by which a stored text, or parts of it, are encrypted."""
    if stored.startswith(PREFIX):
        return {key_id_of(stored)}
    if PREFIX not in stored:
        return set()
    return {key_id_of(part) for part in compound.parts_of(stored) if part.startswith(PREFIX)}


def decrypt_all(stored: str) -> str:
    """Return a stored text with its encrypted parts in plain; see encrypt_again()."""
    text = decrypt(stored) if stored.startswith(PREFIX) else stored
    return compound.with_parts(text, decrypt_all) if PREFIX in text else text


def encrypt_again(stored: str) -> str:
    """Return a stored text with its encrypted parts under the primary key; plain parts stay.

    Raises:
        EncryptionKeyMissing: The key of a part isn't here.
        SerializationError: It was altered.
    """
    ring = get_keyring()
    assert ring is not None
    if ring.primary is None:
        return decrypt_all(stored)
    if not stored.startswith(PREFIX):
        return compound.with_parts(stored, encrypt_again) if PREFIX in stored else stored
    return stored if key_id_of(stored) == ring.primary else ring.encrypt(decrypt_all(stored))


def _derived(key: bytes, purpose: bytes, salt: bytes = b"") -> bytes:
    """Return 32 bytes derived from a key: HKDF with SHA-256, of one block."""
    extracted = hmac.digest(salt or bytes(32), key, "sha256")
    return hmac.digest(extracted, b"django_dbos " + purpose + b"\x01", "sha256")


def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag


def _damaged(key_id: str) -> SerializationError:
    return SerializationError(
        f"A value encrypted with key {key_id!r} can't be decrypted: it isn't as it was written. "
        "Check whether it was changed by hand or by another program."
    )
