"""What an engine tells of a report: while it is read, and when that is over."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..errors import KlaviyoError
from ..windows import Window


@dataclass(frozen=True, slots=True)
class Progress:
    """One report while it is read.

    Attributes:
        report: its name.
        rows: decoded so far.
        requests: sent so far; 0 for a report that another one's requests fill.
        steady_per_minute: requests a minute that its rate limit allows.
        done: nothing more will be read.
        failed: a part of it could not be read.
        fraction: part of the period that is read, 0 to 1; None where it cannot be known.
        started_s: when it started, on the clock's monotonic scale.
    """

    report: str
    rows: int
    requests: int
    steady_per_minute: int
    done: bool
    failed: bool
    fraction: float | None
    started_s: float


@dataclass(frozen=True, slots=True)
class ReadOutcome:
    """One report after it was read.

    Attributes:
        rows: decoded.
        requests, refused, retries: attempts sent, answers 429, attempts after a passing fault; 0 for a report that
            another one's requests fill.
        seconds: how long reading took.
        error: what ended the report, or made it skip a window.
        failed: it ended before its end.
        left_out: Klaviyo does not filter events by its metric, which a pattern chose.
        missing: what of its windows was not read.
        misfits: path -> values that went to `_extra`, since they do not fit their column.
        new_fields: path -> values that went to `_extra`, since no column declares their field.
        loaded: dlt has all rows.
        shared_with: the report whose requests filled this one too.
        deferred: what the daily quota leaves to later runs.
    """

    rows: int
    requests: int
    refused: int
    retries: int
    seconds: float
    error: KlaviyoError | None
    failed: bool
    left_out: bool
    missing: list[Window]
    misfits: Counter[str]
    new_fields: Counter[str]
    loaded: bool
    shared_with: str | None
    deferred: list[Window]
