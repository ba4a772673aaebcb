"""The same 10,000 keys for every gateway, in the form each of them reads."""

import hashlib
import secrets
import zlib

COUNT = 10_000
LOW = 0  # the index of the key with the low limit; the load never uses it but for 429
LOOSE_PER_SECOND = 100_000  # no key reaches it: the limiter works on every request and refuses none
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def new():
    """A key of Keyward's own form: 43 characters of base62 and the CRC-32 over them."""
    body = "".join(secrets.choice(BASE62) for _ in range(43))
    crc, tail = zlib.crc32(body.encode()), ""
    for _ in range(6):
        crc, digit = divmod(crc, 62)
        tail = BASE62[digit] + tail
    return f"kw_{body}{tail}"


def key_id(index):
    return f"bench-{index:05}"


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


def write(keys, scratch):
    """`keys.toml` for Keyward, and lists for the load: of good keys, of unknown ones, of the one with the low limit."""
    loose = f"{LOOSE_PER_SECOND}/s burst {LOOSE_PER_SECOND}"
    with open(scratch / "keys.toml", "w", encoding="ascii") as out:
        for i, key in enumerate(keys):
            limit = "1/s burst 2" if i == LOW else loose
            out.write(f'[[key]]\nid = "{key_id(i)}"\nhash = "sha256:{digest(key)}"\nlimits = ["{limit}"]\n\n')
    with open(scratch / "wrk.keys", "w", encoding="ascii") as out:
        out.writelines(f"{key}\n" for i, key in enumerate(keys) if i != LOW)
    (scratch / "wrk.unknown").write_text("".join(f"{new()}\n" for _ in range(1_000)))
    (scratch / "wrk.low").write_text(f"{keys[LOW]}\n")
