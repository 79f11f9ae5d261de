"""A chain of pages: how far it is read for certain, and where the rest of it can be cut in two."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo.catalog.model import NO_VARIANT
from sources.klaviyo.extract.chain import Chain, Density
from sources.klaviyo.plan.streams import RequestStream
from sources.klaviyo.windows import Window
from tests.support.reading import NOW, at, chain_of, plan, window

HOUR = 3600


def chain(name: str = "events", of: Window | None = None) -> Chain:
    """A chain that nothing is read of yet, of an hour unless told otherwise."""
    asked = of or window(0, HOUR)
    return chain_of(RequestStream(plan(name, asked)).first[0])


def moved(*pages: tuple[float, float], of: Window | None = None) -> Chain:
    """A chain of events after pages that span these seconds."""
    found = chain(of=of)
    for low_s, high_s in pages:
        found.move(at(low_s), at(high_s), True)
    return found


# --- how far it is


def test_before_the_first_page_nothing_is_read_and_nothing_is_cut() -> None:
    new = chain()
    assert (new.read_part(), new.cut(NOW, 1), new.passed()) == (None, None, False)


def test_the_second_of_the_last_record_is_not_read_for_certain() -> None:
    assert moved((0, 60.5)).read_part() == window(0, 60)
    assert moved((0, 0.5)).read_part() is None


def test_a_page_without_moments_tells_nothing() -> None:
    one = moved((0, 60))
    one.move(None, None, False)
    assert (one.progress, one.ascends, one.density.pages) == (at(60), True, 1)


@pytest.mark.parametrize(
    ("low_s", "high_s", "ascends"),
    [
        pytest.param(70, 80, False, id="not in order within the page"),
        pytest.param(59, 80, True, id="it goes back behind the page before"),
        pytest.param(70, HOUR, True, id="a record after the period that was asked for"),
    ],
)
def test_pages_out_of_order_prove_nothing_about_what_is_read(low_s: float, high_s: float, ascends: bool) -> None:
    one = moved((0, 60))
    one.move(at(low_s), at(high_s), ascends)
    assert not one.ascends
    assert (one.read_part(), one.cut(NOW, 1), one.passed()) == (None, None, False)


def test_records_of_one_second_may_go_on_on_the_next_page_in_any_order() -> None:
    assert moved((0, 60.9), (60.1, 80)).ascends


def test_a_chain_whose_end_was_taken_away_ends_once_it_is_beyond_its_window() -> None:
    one = moved((0, 60))
    one.window = window(0, 100)
    one.move(at(60), at(99.9), True)
    assert not one.passed()
    one.move(at(99.9), at(120), True)
    assert one.passed()
    assert one.read_part() is None, "what lies beyond the window is another chain's"


def test_descending_pages_say_nothing_about_a_part() -> None:
    flows = chain("flows")
    flows.move(at(10), at(60), True)
    assert (flows.read_part(), flows.cut(NOW, 1)) == (None, None)


def test_the_density_of_a_chain_is_the_average_of_its_pages() -> None:
    density = Density()
    assert density.page == timedelta(0)
    density.add(timedelta(seconds=10))
    density.add(timedelta(seconds=30))
    assert density.page == timedelta(seconds=20)


# --- where to cut


def test_the_rest_is_cut_in_the_middle() -> None:
    # A page a minute: the one that is being fetched ends at 120 s, 58 pages are left.
    assert moved((0, 60)).cut(NOW, 8) == (58.0, at(120 + 58 * 60 / 2))


def test_pages_that_wait_to_be_decoded_are_left_out_of_a_cut() -> None:
    one = moved((0, 60))
    one.undecoded = 2
    assert one.cut(NOW, 8) == (56.0, at(240 + 56 * 60 / 2))


def test_nothing_is_cut_off_where_the_rest_is_less_than_a_thread_is_worth() -> None:
    assert moved((0, 60), of=window(0, 60 * 9)).cut(NOW, 8) is None
    assert moved((0, 60), of=window(0, 60 * 10)).cut(NOW, 8) == (8.0, at(120 + 8 * 60 / 2))


def test_what_lies_in_the_future_is_no_work() -> None:
    assert moved((0, 60)).cut(at(600), 8) == (8.0, at(360))
    assert moved((0, 60)).cut(at(100), 1) is None


def test_within_a_burst_a_cut_keeps_its_distance() -> None:
    # Pages of ten minutes, then one of a second: by the last page 2,400 are left, by the average twelve or so.
    one = moved((0, 600), (600, 1200), (1200, 1201))
    # Halving would put a thread where most likely nothing is; eight pages of the burst are cut off instead.
    assert one.density.page.total_seconds() == pytest.approx(1201 / 3)
    pages, middle = one.cut(NOW, 8) or (0.0, NOW)
    assert pages == pytest.approx((HOUR - 1202) / (1201 / 3))
    assert middle == at(1202 + 8)


def test_a_burst_at_the_end_of_a_window_is_not_cut() -> None:
    assert moved((0, 600), (600, 1200), (1200, 1201), of=window(0, 1210)).cut(NOW, 8) is None


def test_a_chain_that_is_fetched_or_shared_is_not_cut() -> None:
    assert moved((0, 60)).cut(NOW, 8) is not None
    fetched, shared = moved((0, 60)), moved((0, 60))
    fetched.fetched = shared.request.shared = True
    assert (fetched.cut(NOW, 8), shared.cut(NOW, 8)) == (None, None)


@given(
    spans_s=st.lists(st.floats(0, 900), min_size=1, max_size=5),
    undecoded=st.integers(0, 4),
    end_s=st.integers(1, 4 * HOUR),
    now_s=st.integers(1, 5 * HOUR),
    worth=st.integers(1, 12),
)
def test_a_cut_lies_in_what_nobody_has_asked_for_and_leaves_both_parts_some_work(
    spans_s: list[float], undecoded: int, end_s: int, now_s: int, worth: int
) -> None:
    one, low_s = chain(of=window(0, end_s)), 0.0
    for span_s in spans_s:
        one.move(at(low_s), at(low_s + span_s), True)
        low_s += span_s
    one.undecoded = undecoded
    cut = one.cut(at(now_s), worth)
    if cut is None:
        return
    pages, middle = cut
    assert one.progress is not None
    # The cut is in whole seconds, so a part may be shorter by less than one.
    behind = one.progress + (undecoded + 1) * max(timedelta(seconds=1), timedelta(seconds=spans_s[-1]))
    assert behind - timedelta(seconds=1) < middle < min(one.window.end, at(now_s))
    assert middle.microsecond == 0
    assert pages > 0


def test_a_child_belongs_to_the_window_of_its_first_parents() -> None:
    stream = RequestStream(plan("flow_messages", window(0, HOUR)))
    top = chain_of(stream.first[0])
    below = stream.report.below(top.request.endpoint)
    child = chain_of(stream.request(below, window(0, HOUR), NO_VARIANT, "F1"), top)
    grandchild = chain_of(stream.request(stream.endpoint, window(0, HOUR), NO_VARIANT, "A1"), child)
    assert (top.top, child.top, grandchild.top) == (top, top, top)
