"""Fields that no column declares: counted by report, named once a run."""

from __future__ import annotations

from collections import Counter

import pytest

from sources.klaviyo.extract.new_fields import OTHERS, NewFields
from sources.klaviyo.extract.output import Output
from sources.klaviyo.extract.tuning import DEFAULT
from tests.support.reading import page, plan, record, window

Log = pytest.LogCaptureFixture


def output(name: str, known: NewFields) -> Output:
    return Output(plan(name, window(0, 600)), DEFAULT, known)


def take(of: Output, *names: str) -> None:
    """A page with a record that has these attributes."""
    of.count(of.shaper.shape(page([record("tag", "t", **dict.fromkeys(names, 1))]), {}))


def test_a_new_field_is_named_once_a_run_and_counted_every_time(caplog: Log) -> None:
    known = NewFields()
    tags, lists = output("tags", known), output("lists", known)
    for _ in range(3):
        take(tags, "mood")
    take(lists, "mood")
    take(lists, "mood", "weather", "name")
    assert caplog.messages == [
        "tags: Klaviyo sent a field that this version does not know: attributes.mood. It is kept in _extra.",
        "lists: Klaviyo sent a field that this version does not know: attributes.mood. It is kept in _extra.",
        "lists: Klaviyo sent a field that this version does not know: attributes.weather. It is kept in _extra.",
    ]
    assert (tags.new_fields, tags.misfits) == ({"attributes.mood": 3}, Counter())
    assert lists.new_fields == {"attributes.mood": 2, "attributes.weather": 1}


def test_fields_that_come_together_are_named_together(caplog: Log) -> None:
    take(output("tags", NewFields()), "mood", "weather")
    assert caplog.messages == [
        "tags: Klaviyo sent fields that this version does not know: attributes.mood, attributes.weather. They are kept "
        "in _extra."
    ]


def test_what_the_reports_of_many_metrics_have_in_common_is_named_once(caplog: Log) -> None:
    known, counts = NewFields(), [Counter[str]() for _ in range(3)]
    for number, of_metric in enumerate(counts):
        known.count(f"events_metric_{number}", "events", {"attributes.mood": 2}, of_metric)
    assert len(caplog.messages) == 1
    assert counts == [{"attributes.mood": 2}] * 3


def test_another_run_names_it_again(caplog: Log) -> None:
    for _ in range(2):
        take(output("tags", NewFields()), "mood")
    assert len(caplog.messages) == 2


def test_a_few_names_are_kept_and_no_value_is_left_uncounted(caplog: Log) -> None:
    tags = output("tags", NewFields())
    for first in range(0, 500, 10):
        take(tags, *(f"n{number}" for number in range(first, first + 10)))
    assert tags.new_fields == {**{f"attributes.n{number}": 1 for number in range(20)}, OTHERS: 480}
    assert sum(len(message) for message in caplog.messages) < 1000
    assert [OTHERS in message for message in caplog.messages] == [False, False, True]


def test_a_name_is_one_short_line(caplog: Log) -> None:
    tags = output("tags", NewFields())
    take(tags, "two\nlines \x1b[31m", "é" * 10_000)
    assert sorted(tags.new_fields) == ["attributes.two?lines ?[31m", f"attributes.{'é' * 86}..."]
    assert "\n" not in caplog.text.strip()
