"""Ids and pseudo-random bits computed from the number of a record, so that records need no memory."""

from __future__ import annotations

from functools import cache
from math import gcd

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
HALF = 36**3
SPACE = HALF * HALF
MASK = (1 << 64) - 1


def mix(number: int, salt: int) -> int:
    """64 pseudo-random bits of a number (splitmix64)."""
    x = (number * 0x9E3779B97F4A7C15 + salt * 0xD1B54A32D192ED03 + 0x8CB92BA72F3D8DD7) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


@cache
def triplets() -> list[bytes]:
    """All three-digit numbers of base 36, in order."""
    return [f"{a}{b}{c}".encode() for a in DIGITS for b in DIGITS for c in DIGITS]


class Codec:
    """Converts numbers below 36**6 to ids and back. An id is a prefix and six digits in no visible order.

    Args:
        prefix: start of each id.
        salt: different salts give different ids.
    """

    def __init__(self, prefix: str, salt: int) -> None:
        self.prefix = prefix.encode()
        # 1 modulo 6, so coprime to 36**6: the multiplication is a bijection.
        self.factor = (mix(salt, 101) % SPACE // 6) * 6 + 1
        self.shift = mix(salt, 102) % SPACE
        self._inverse = pow(self.factor, -1, SPACE)

    def encode(self, number: int) -> bytes:
        """The id of a number."""
        x = (number * self.factor + self.shift) % SPACE
        table = triplets()
        return self.prefix + table[x // HALF] + table[x % HALF]

    def decode(self, text: str) -> int | None:
        """The number of an id; None if the id is not one of this codec."""
        prefix = self.prefix.decode()
        digits = text.removeprefix(prefix)
        if not text.startswith(prefix) or len(digits) != 6 or any(digit not in DIGITS for digit in digits):
            return None
        return (int(digits, 36) - self.shift) * self._inverse % SPACE


def coprime(near: int, size: int) -> int:
    """A number near `near` that is coprime to `size`: multiplying by it modulo `size` permutes `range(size)`."""
    factor = near % max(size, 1) or 1
    while gcd(factor, size) != 1:
        factor += 1
    return factor
