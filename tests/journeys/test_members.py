"""Members of lists and segments as history: who is in, who left, and when each was seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox.http.api import Answer
from tests.support import truth
from tests.support.journeys import FakeClock, Journey, home, small_account

MEMBERS = ("list_profiles", "segment_profiles", "profile_segments")
HISTORY = "epoch_us(_dlt_valid_from), epoch_us(_dlt_valid_to)"


@pytest.fixture
def grouped(tmp_path: Path) -> Iterator[Journey]:
    """Three lists and three segments, the first of each empty, the second large."""
    clock = FakeClock()
    with home(tmp_path):
        journey = Journey(tmp_path, small_account(clock, seed=61, profiles=150, lists=3, segments=3), clock)
        yield journey
        journey.close()


def groups(journey: Journey, kind: str) -> list[str]:
    """Ids of the lists or segments."""
    return [record["id"] for record in journey.account.records(kind)]


def history(journey: Journey, table: str, group: str, profile: str) -> list[tuple[int, int | None]]:
    """The periods of one membership, oldest first: seen from and until, in microseconds."""
    column = "list_id" if table == "list_profiles" else "segment_id"
    return journey.sql(
        f"SELECT {HISTORY} FROM klaviyo.{table} WHERE {column} = '{group}' AND profile_id = '{profile}' ORDER BY 1"
    )


def now_in(journey: Journey, table: str) -> list[dict[str, object]]:
    """Who is a member now, with all columns."""
    return truth.loaded(journey.folder, table, "_dlt_valid_to IS NULL")


def loaded_at_us(journey: Journey) -> int:
    """When the last package was loaded, as dlt writes it into the history."""
    ((load_id,),) = journey.sql("SELECT max(load_id) FROM klaviyo._dlt_loads")
    return truth.epoch_us(datetime.fromtimestamp(float(load_id), UTC))


def equals_the_truth(journey: Journey) -> None:
    """The members of now are those of the account, in all three tables."""
    for table in MEMBERS:
        wanted = truth.expected(journey.account, table, journey.clock.now(), journey.clock.now())
        assert truth.differences(now_in(journey, table), wanted) == [], table


def test_the_history_tells_who_left_joined_and_joined_again(grouped: Journey) -> None:
    account, clock = grouped.account, grouped.clock
    grouped.load(*MEMBERS)
    equals_the_truth(grouped)
    first = loaded_at_us(grouped)
    empty, large, other = groups(grouped, "list")
    segment = groups(grouped, "segment")[1]
    leaver, rejoiner, stayer, refresher = list(account.members("list", large))[:4]
    joiner = next(
        record["id"] for record in account.records("profile") if record["id"] not in account.members("list", large)
    )
    segment_leaver = next(iter(account.members("segment", segment)))
    before = set(grouped.sql("SELECT list_id, profile_id, _dlt_load_id FROM klaviyo.list_profiles"))

    clock.forward(hours=1)
    account.leave("list", large, leaver)
    account.leave("list", large, rejoiner)
    account.join("list", large, refresher)
    account.join("list", large, joiner)
    account.join("list", empty, joiner)
    account.leave("segment", segment, segment_leaver)
    grouped.load(*MEMBERS)
    equals_the_truth(grouped)
    second = loaded_at_us(grouped)
    assert history(grouped, "list_profiles", large, stayer) == [(first, None)]
    assert history(grouped, "list_profiles", large, leaver) == [(first, second)]
    assert history(grouped, "list_profiles", large, joiner) == [(second, None)]
    assert history(grouped, "list_profiles", empty, joiner) == [(second, None)]
    # Who joins again without being seen to leave starts a new period.
    assert history(grouped, "list_profiles", large, refresher) == [(first, second), (second, None)]
    for table in ("segment_profiles", "profile_segments"):
        assert history(grouped, table, segment, segment_leaver) == [(first, second)]
    # What did not change is not written again.
    after = set(grouped.sql("SELECT list_id, profile_id, _dlt_load_id FROM klaviyo.list_profiles"))
    assert before <= after
    assert len(after - before) == 3

    clock.forward(hours=1)
    account.join("list", large, rejoiner)
    grouped.load(*MEMBERS)
    equals_the_truth(grouped)
    third = loaded_at_us(grouped)
    assert history(grouped, "list_profiles", large, rejoiner) == [(first, second), (third, None)]
    assert history(grouped, "list_profiles", large, leaver) == [(first, second)]
    assert other in {row["list_id"] for row in now_in(grouped, "list_profiles")}


def test_a_run_without_changes_touches_no_row(grouped: Journey) -> None:
    grouped.load(*MEMBERS)
    whole = [f"SELECT * REPLACE ({HISTORY.replace('),', ') AS _dlt_valid_from,')} AS _dlt_valid_to) FROM klaviyo.{table}"
             for table in MEMBERS]  # fmt: skip
    before = [sorted(grouped.sql(query), key=str) for query in whole]
    for _ in range(2):
        grouped.clock.forward(days=1)
        grouped.load(*MEMBERS)
    grouped.forget()
    grouped.load(*MEMBERS)
    assert [sorted(grouped.sql(query), key=str) for query in whole] == before


def test_an_emptied_list_and_a_deleted_list_end_their_memberships(grouped: Journey) -> None:
    account = grouped.account
    grouped.load(*MEMBERS, "lists")
    _, large, small = groups(grouped, "list")
    _, segment, other_segment = groups(grouped, "segment")
    sizes = {group: len(account.members("list", group)) for group in (large, small)}
    for profile in list(account.members("list", small)):
        account.leave("list", small, profile)
    account.remove("list", large)
    account.remove("segment", segment)
    grouped.clock.forward(hours=1)
    grouped.load(*MEMBERS, "lists")
    now = loaded_at_us(grouped)
    for group, size in sizes.items():
        ended = grouped.sql(f"SELECT count(*), min(epoch_us(_dlt_valid_to)), max(epoch_us(_dlt_valid_to)) "
                            f"FROM klaviyo.list_profiles WHERE list_id = '{group}'")  # fmt: skip
        assert ended == [(size, now, now)]
    assert now_in(grouped, "list_profiles") == []
    assert {row["segment_id"] for row in now_in(grouped, "segment_profiles")} == {other_segment}
    assert {row["segment_id"] for row in now_in(grouped, "profile_segments")} == {other_segment}
    # The list itself has no date that its deletion moves: the row of an incremental table stays.
    assert large in grouped.ids("lists")


def test_a_deleted_profile_ends_its_memberships(grouped: Journey) -> None:
    grouped.load(*MEMBERS)
    large = groups(grouped, "list")[1]
    profile = next(iter(grouped.account.members("list", large)))
    grouped.account.remove("profile", profile)
    grouped.load(*MEMBERS)
    assert history(grouped, "list_profiles", large, profile)[0][1] is not None
    equals_the_truth(grouped)


def test_profile_segments_is_segment_profiles_the_other_way_round_and_costs_no_request(grouped: Journey) -> None:
    alone = grouped.load("segment_profiles")["segment_profiles"]
    paths = sorted(request.path for request in grouped.server.requests)
    grouped.forget()
    outcomes = grouped.load("segment_profiles", "profile_segments")
    assert sorted(request.path for request in grouped.server.requests) == paths
    assert outcomes["segment_profiles"].requests == alone.requests == len(paths)
    assert outcomes["profile_segments"].requests == 0
    assert outcomes["profile_segments"].shared_with == "segment_profiles"
    columns = "profile_id, segment_id, joined_group_at::VARCHAR"
    assert grouped.sql(f"SELECT {columns} FROM klaviyo.profile_segments ORDER BY ALL") == grouped.sql(
        f"SELECT {columns} FROM klaviyo.segment_profiles ORDER BY ALL"
    )
    # Alone it sends the same requests for itself.
    grouped.load("profile_segments")
    assert sorted(request.path for request in grouped.server.requests) == paths


def test_a_member_that_moves_while_the_pages_are_read_is_there_once(
    grouped: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, api = grouped.account, grouped.server._api
    assert api is not None
    large = groups(grouped, "list")[1]
    assert len(account.members("list", large)) > 100
    mover = next(iter(account.members("list", large)))
    # The first page is answered, then the oldest member joins again and stands on the second page too.
    answer = api.answer
    joined: list[str] = []

    def answer_and_join(method: str, path: str, parameters: dict[str, str], *rest: Any) -> Answer:
        given = answer(method, path, parameters, *rest)
        if path == f"/api/lists/{large}/profiles" and not joined:
            joined.append(mover)
            account.join("list", large, mover, grouped.clock.forward(seconds=1))
        return given

    monkeypatch.setattr(api, "answer", answer_and_join)
    grouped.load("list_profiles")
    assert joined == [mover]
    wanted = truth.expected(account, "list_profiles", grouped.clock.now(), grouped.clock.now())
    assert truth.differences(now_in(grouped, "list_profiles"), wanted) == []
    assert len(history(grouped, "list_profiles", large, mover)) == 1
