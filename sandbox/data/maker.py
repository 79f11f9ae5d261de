"""What all functions that build records share: a seeded random generator, the history, and new ids."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

DAY_S = 86400
ALPHABET = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


@dataclass
class Maker:
    """Random values of one collection.

    Attributes:
        start, end: the history, in seconds since 1970.
    """

    random: Random
    start: int
    end: int

    def identity(self, length: int = 6) -> str:
        """A new short id."""
        return "".join(self.random.choices(ALPHABET, k=length))

    def ulid(self) -> str:
        """A new id of the long form, as campaigns and tags have it."""
        return "01J" + "".join(self.random.choices("0123456789ABCDEFGHJKMNPQRSTVWXYZ", k=23))

    def second(self, low: int | None = None, high: int | None = None) -> int:
        """A random moment in `[low, high)`, by default within the history."""
        low = self.start if low is None else low
        return self.random.randint(low, max(low, (self.end if high is None else high) - 1))

    def flip(self, probability: float) -> bool:
        """True with this probability."""
        return self.random.random() < probability
