"""The rows of one report between the decoder and the loader."""

from __future__ import annotations

import pyarrow as pa
import pytest

from sources.klaviyo.decode.analytics import AnalyticsShaper
from sources.klaviyo.decode.nested import NestedShaper
from sources.klaviyo.decode.records import Shaper
from sources.klaviyo.extract.output import Output
from sources.klaviyo.extract.tuning import DEFAULT
from sources.klaviyo.plan.plan import Plan
from sources.klaviyo.windows import EVERYTHING
from tests.support.reading import page, plan, record, window


def output(name: str = "tags", *, whole: bool = False, append: bool = False) -> Output:
    return Output(plan(name, EVERYTHING if whole else window(0, 600), whole=whole, append=append), DEFAULT)


def rows(of: Output, *ids: str) -> pa.Table:
    """A decoded page of tags."""
    return of.shaper.shape(page([record("tag", identity) for identity in ids]), {}).table


def waiting(of: Output) -> list[str]:
    """Ids of the rows that wait to be loaded."""
    return [identity for table in of.buffer.drain() for identity in table.column("id").to_pylist()]


@pytest.mark.parametrize(
    ("name", "shaper"), [("tags", Shaper), ("subscriptions", NestedShaper), ("flow_series", AnalyticsShaper)]
)
def test_every_kind_of_report_has_its_decoder(name: str, shaper: type) -> None:
    assert type(Output(Plan(plan(name).report, plan(name).settings, [], [], False), DEFAULT).shaper) is shaper


def test_rows_wait_in_the_buffer_in_the_order_in_which_they_came() -> None:
    one = output()
    for ids in ("ab", "", "c"):
        one.add(rows(one, *ids), new=True)
    assert (one.rows, waiting(one), waiting(one)) == (3, ["a", "b", "c"], [])


def test_a_whole_report_waits_on_the_spool_with_each_row_once() -> None:
    one = output(whole=True)
    for ids in ("ab", "bc"):
        one.add(rows(one, *ids), new=True)
    assert waiting(one) == []
    assert one.spool is not None
    assert sorted(identity for table in one.spool.tables() for identity in table.column("id").to_pylist()) == list(
        "abc"
    )
    one.close()


def test_once_a_row_may_be_in_the_table_all_that_follow_are_merged() -> None:
    one = output(append=True)
    assert one.new
    one.add(rows(one, "a"), new=True)
    assert one.new
    one.add(rows(one, "b"), new=False)
    one.add(rows(one, "c"), new=True)
    assert not one.new


def test_a_page_without_rows_does_not_end_appending() -> None:
    one = output(append=True)
    one.add(rows(one), new=False)
    assert one.new


def test_orders_to_delete_are_not_counted_as_rows() -> None:
    one = output("subscriptions")
    consent = {"email": {"marketing": {"consent": "SUBSCRIBED"}}}
    table = one.shaper.shape(page([record("profile", "P1", subscriptions=consent)]), {}).table
    one.add(table, new=False)
    assert table.num_rows > 1
    assert one.rows == 1


def test_what_nobody_wants_any_more_takes_no_memory() -> None:
    one = output()
    one.add(rows(one, "a"), new=True)
    one.drop()
    one.add(rows(one, "b"), new=True)
    assert (one.buffer.rows, one.buffer.nbytes, waiting(one)) == (0, 0, [])


def test_to_drop_a_whole_report_gives_its_file_back() -> None:
    one = output(whole=True)
    assert one.spool is not None
    one.drop()
    with pytest.raises(ValueError, match="closed"):
        list(one.spool.tables())
