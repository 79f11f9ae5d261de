"""What a pipeline remembers: the loaded periods, in a form that dlt can keep."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo.plan.state import (
    SOURCE,
    childless,
    covered,
    include_refused,
    of_report,
    remember,
    remember_childless,
    remember_include_refused,
)
from sources.klaviyo.windows import BEGINNING, EVERYTHING, Window, union

BY = "/api/events datetime"
T0 = datetime(2026, 1, 1, tzinfo=UTC)

windows = st.tuples(st.integers(0, 50), st.integers(1, 20)).map(
    lambda bounds: Window(T0 + timedelta(seconds=bounds[0]), T0 + timedelta(seconds=sum(bounds)))
)


@given(st.lists(windows | st.just(EVERYTHING) | st.just(Window(BEGINNING, T0))))
def test_what_is_remembered_comes_back_joined_also_through_json(loaded: list[Window]) -> None:
    state: dict[str, Any] = {"something": "else"}
    remember(state, loaded, BY)
    assert covered(json.loads(json.dumps(state)), BY) == union(loaded)
    assert state["something"] == "else"


def test_what_is_remembered_replaces_what_was() -> None:
    state: dict[str, Any] = {}
    remember(state, [EVERYTHING], BY)
    remember(state, [], BY)
    assert covered(state, BY) == []


def test_what_was_loaded_by_another_field_says_nothing_of_this_one() -> None:
    state: dict[str, Any] = {}
    remember(state, [EVERYTHING], "/api/campaigns updated_at")
    assert covered(state, "/api/campaign-messages updated") == []
    remember(state, [Window(BEGINNING, T0)], "/api/campaign-messages updated")
    assert covered(state, "/api/campaign-messages updated") == [Window(BEGINNING, T0)]


def test_before_the_first_load_nothing_is_loaded() -> None:
    assert covered({}, BY) == []
    states: list[dict[str, Any]] = [
        {},
        {"sources": {}},
        {"sources": {SOURCE: {"resources": {"other": {}}}}},
        {"sources": {SOURCE: None}},
    ]
    assert [of_report(state, "events") for state in states] == [{}] * 4


def test_the_state_of_a_report_is_found_within_that_of_the_pipeline() -> None:
    own = {"covered": [["2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"]]}
    state = {"sources": {SOURCE: {"resources": {"events": own}}}}
    assert covered(of_report(state, "events"), BY) == [Window(T0, T0 + timedelta(days=1))]


def test_the_parents_without_a_child_that_are_remembered_are_bounded_and_the_latest() -> None:
    kept: dict[str, Any] = {}
    remember_childless(kept, {})
    assert kept == {}
    dates = {f"C{number}": f"2026-01-01T{number:06d}" for number in range(6000)}
    remember_childless(kept, dates)
    assert len(childless(kept)) == 5000
    assert childless(kept)["C5999"] == dates["C5999"]
    assert "C999" not in childless(kept)
    remember_childless(kept, {"C1000": "2026-02-01T000000"})
    assert childless(kept)["C1000"] == "2026-02-01T000000"
    assert len(childless(kept)) == 5000


@given(st.integers(-1, 60), st.booleans())
def test_a_refused_include_is_remembered_for_its_revision_and_thirty_days(days: int, same: bool) -> None:
    kept: dict[str, Any] = {}
    assert not include_refused({"sources": {SOURCE: kept}}, "2026-10-15", T0)
    remember_include_refused(kept, "2026-10-15", T0)
    kept = json.loads(json.dumps(kept))
    revision = "2026-10-15" if same else "2027-01-15"
    assert include_refused({"sources": {SOURCE: kept}}, revision, T0 + timedelta(days=days)) == (same and days < 30)
