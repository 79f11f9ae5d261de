"""The output of the commands on stdout: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..catalog.report import Report
from ..catalog.reports import REPORT_SPANS
from ..errors import KlaviyoError
from ..windows import BEGINNING, END_OF_TIME, Window
from .format import counted, duration, extent, listed, moment, number, spans

if TYPE_CHECKING:
    from collections import Counter

    from rich.table import Table

    from ..load.runner import Outcome
    from ..plan.estimate import Cost, ReportCost
    from .check import Result

#: The most paths of misfits that are listed for a report.
_MOST_PATHS = 10


def write(text: str = "") -> None:
    """Write a line to stdout."""
    sys.stdout.write(f"{text}\n")


def write_json(info: Any) -> None:
    """Write JSON to stdout."""
    write(json.dumps(info, indent=2, ensure_ascii=False))


def write_table(headers: Mapping[str, bool], rows: Iterable[Sequence[str]], styles: Sequence[str] = ()) -> None:
    """Write a table to stdout. Lines wrap on a terminal only.

    Args:
        headers: header -> whether its column has numbers.
        styles: rich's style of each row; empty for none.
    """
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else 10_000, highlight=False, markup=False, emoji=False)
    table: Table = Table(box=None, pad_edge=False, header_style="bold")
    for header, is_number in headers.items():
        table.add_column(header, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    for position, row in enumerate(rows):
        table.add_row(*row, style=styles[position] if styles else "")
    with console.capture() as captured:
        console.print(table)
    text = captured.get()
    write("\n".join(line.rstrip() for line in text.splitlines()))


# --- reports


def report_info(report: Report) -> dict[str, Any]:
    """A report as JSON data."""
    endpoint, contract = report.endpoint, report.contract
    cursor = report.cursor if report.is_windowed else None
    return {
        "name": report.name,
        "description": contract.description,
        "like": report.redefines,
        "endpoint": endpoint.path,
        "cursor": cursor.field if cursor else None,
        "read": "by period" if cursor else "whole, kept as history" if report.history else "whole",
        "scopes": list(report.scopes),
        "requests_per_minute": report.rate.steady,
        "requests_per_day": report.rate.daily,
        "on_by_default": report.on_by_default,
        "revisions": REPORT_SPANS.get(report.name) or "all",
        "options": list(report.optional_fields),
        "settings": list(endpoint.analytics.settings) if endpoint.analytics else [],
        "columns": [
            {
                "name": column.name,
                "type": column.data_type,
                "primary_key": column.primary_key,
                "path": column.path,
                "description": column.description,
            }
            for column in contract.columns
        ],
    }


def show_reports(infos: Sequence[Mapping[str, Any]]) -> None:
    """Write a table of all reports, one line each."""
    write_table(
        {
            "report": False,
            "endpoint": False,
            "cursor": False,
            "read": False,
            "scopes": False,
            "by default": False,
            "rows": False,
        },
        (
            [
                info["name"],
                info["endpoint"],
                info["cursor"] or "-",
                info["read"],
                ", ".join(info["scopes"]),
                "yes" if info["on_by_default"] else "no",
                info["description"],
            ]
            for info in infos
        ),
    )
    write("\n`reports NAME` shows the columns of a report, `reports --columns` those of all.")
    write("A report that is not loaded by default is loaded where it is named: `run NAME`, or `run all` for every one.")


def show_columns(info: Mapping[str, Any]) -> None:
    """Write one report with its columns."""
    write(f"{info['name']}: {info['description']}")
    daily = f", {info['requests_per_day']:,} a day" if info["requests_per_day"] else ""
    if info["like"]:
        write(f"  like      {info['like']}, with a definition of its own")
    write(f"  endpoint  {info['endpoint']}, {info['requests_per_minute']:,} requests a minute{daily}")
    write(f"  read      {info['read']}" + (f", cursor {info['cursor']}" if info["cursor"] else ""))
    write(f"  scopes    {', '.join(info['scopes'])}")
    if info["revisions"] != "all":
        write(f"  revision  {info['revisions']}")
    write(f"  loaded    {'by default' if info['on_by_default'] else 'only if it is named, or with all'}")
    if info["settings"]:
        write(f"  settings  {', '.join(info['settings'])}")
    if info["options"]:
        write(f"  options   {', '.join(info['options'])} (off by default)")
    write()
    write_table(
        {"column": False, "type": False, "key": False, "description": False},
        (
            [column["name"], column["type"], "yes" if column["primary_key"] else "", column["description"]]
            for column in info["columns"]
        ),
    )
    write()


# --- plan


def plan_info(cost: Cost) -> dict[str, Any]:
    """A plan and its cost as JSON data."""
    return {
        "reports": [
            {
                "report": one.plan.report.name,
                "windows": _bounds(sorted(one.plan.windows)),
                "whole": one.plan.whole,
                "least_requests": one.requests,
                "least_seconds": one.seconds,
                "requests_per_minute": one.rate.steady,
                "and_one_request_per": one.per_parent,
                "shares_requests_of": one.shared_with,
                "requests_left_to_later_runs": one.left,
                "requests_per_day": one.rate.daily,
                "looks_up_metrics": one.names_metrics,
                "new_definition": one.plan.redefined is not None,
            }
            for one in cost.reports
        ],
        "least_requests": cost.requests,
        "least_seconds": cost.seconds,
        "number_of_parents_known": cost.bounded,
    }


def show_plan(cost: Cost) -> None:
    """Write what a run would read, and the least requests and time that it takes."""
    write_table(
        {"report": False, "windows": True, "span (UTC)": False, "requests": True, "time": True, "remark": False},
        (
            [
                one.plan.report.name,
                number(len(one.plan.windows)),
                "everything" if one.plan.whole else extent(sorted(one.plan.windows)),
                "" if one.shared_with else f"at least {number(one.requests)}",
                "" if one.shared_with else _time(one.seconds),
                _remark(one),
            ]
            for one in cost.reports
        ),
    )
    unknown = "" if cost.bounded else ", and those for each record that the remarks name, which only Klaviyo can count"
    write(
        f"\nIn all at least {counted(cost.requests, 'request')}{unknown}. By the rate limits they take "
        f"{_time(cost.seconds)}, since reports are read side by side."
    )
    write("Every further page of a window is one more request. Klaviyo was not asked for this.")


def _remark(one: ReportCost) -> str:
    if one.shared_with:
        return f"comes with {one.shared_with}"
    if one.rate.daily is not None:
        later = f"{counted(one.left, 'more request')} in later runs; " if one.left else ""
        if one.plan.redefined is not None:
            later = f"new definition, the table keeps its rows until it is complete; {later}"
        return f"{later}{one.rate.steady:,} requests a minute, {one.rate.daily:,} a day"
    lookup = "the account's metrics are asked for first; " if one.names_metrics else ""
    if one.plan.redefined is not None:
        lookup = f"new definition, the table keeps its rows until it is complete; {lookup}"
    if one.per_parent:
        return f"{lookup}and at least one for each of the {one.per_parent}; {one.rate.steady:,} requests a minute"
    return f"{lookup}{one.rate.steady:,} requests a minute"


def _time(seconds: float) -> str:
    return f"at least {duration(seconds)}" if seconds else "no wait"


# --- check


def check_info(result: Result) -> dict[str, Any]:
    """What a key may read, as JSON data."""
    return {
        "account": result.account,
        "reports": [
            {
                "report": verdict.report,
                "allowed": verdict.allowed,
                "scopes": list(verdict.scopes),
                "lacks": verdict.lacks or None,
                "error": None if verdict.error is None else _error_info(verdict.error),
                "remark": verdict.remark or None,
            }
            for verdict in result.verdicts
        ],
    }


def show_check(result: Result) -> None:
    """Write what a key may read."""
    write(f"account: {result.account}\n")
    write_table(
        {"report": False, "may be read": False, "scopes needed": False},
        (
            [
                verdict.report,
                "yes" if verdict.allowed else verdict.lacks or f"not tried: {verdict.remark}",
                ", ".join(verdict.scopes),
            ]
            for verdict in result.verdicts
        ),
        ["red" if verdict.error else "" for verdict in result.verdicts],
    )
    refused = [(verdict.report, verdict.error) for verdict in result.verdicts if verdict.error]
    if refused:
        write("\nNot allowed:")
        _show_errors(refused)
    else:
        write("\nThe key may read all of them.")


# --- run


@dataclass(frozen=True, slots=True)
class RunReport:
    """The result of a run.

    Attributes:
        place: the destination, without its secrets.
        stopped: the user stopped the run early.
    """

    pipeline: str
    dataset: str | None
    place: str
    outcomes: Sequence[Outcome]
    stopped: bool = False

    def status(self, outcome: Outcome) -> str:
        """The status of a report, in a few words."""
        if outcome.error is not None:
            return "loaded with gaps" if outcome.loaded else "failed"
        if outcome.left_out:
            return "left out"
        if outcome.deferred:
            return "resume later"
        if not outcome.loaded:
            return "stopped" if self.stopped else "not loaded"
        return "loaded" if outcome.windows else "up to date"

    def info(self) -> dict[str, Any]:
        """The result as JSON data."""
        return {
            "pipeline": self.pipeline,
            "dataset": self.dataset,
            "place": self.place,
            "stopped": self.stopped,
            "reports": [
                {
                    "report": outcome.report,
                    "status": self.status(outcome),
                    "windows": _bounds(outcome.windows),
                    "whole": outcome.whole,
                    "rows": outcome.rows,
                    "requests": outcome.requests,
                    "shares_requests_of": outcome.shared_with,
                    "refused_429": outcome.refused,
                    "retries": outcome.retries,
                    "seconds": round(outcome.seconds, 3),
                    "high_water": _iso(outcome.high_water),
                    "error": None if outcome.error is None else _error_info(outcome.error),
                    "failed_windows": _bounds(outcome.failed_windows),
                    "left_to_later_runs": _bounds(outcome.deferred),
                    "new_definition": None
                    if outcome.unfinished is None
                    else {"requests_done": outcome.unfinished.done, "requests": outcome.unfinished.requests},
                    "kept_in_extra": dict(outcome.misfits + outcome.new_fields),
                    "new_fields": list(outcome.new_fields),
                }
                for outcome in self.outcomes
            ],
        }


def show_run(report: RunReport) -> None:
    """Write the table at the end of a run, then errors, deferred windows, misfits, new fields and retries, if any."""
    outcomes = report.outcomes
    write_table(
        {
            "report": False,
            "window (UTC)": False,
            "rows": True,
            "requests": True,
            "time": True,
            "new high-water mark (UTC)": False,
            "status": False,
        },
        (
            [
                outcome.report,
                "everything" if outcome.whole else spans(outcome.windows),
                number(outcome.rows),
                "shared" if outcome.shared_with else number(outcome.requests),
                duration(outcome.seconds),
                moment(outcome.high_water) if outcome.high_water else "-",
                report.status(outcome),
            ]
            for outcome in outcomes
        ),
        [
            "red" if outcome.error else "yellow" if not outcome.loaded or outcome.left_out else ""
            for outcome in outcomes
        ],
    )
    rows = sum(outcome.rows for outcome in outcomes)
    requests = sum(outcome.requests for outcome in outcomes)
    write(
        f"\n{counted(rows, 'row')} in {counted(requests, 'request')}; dataset {report.dataset} of {report.place}, "
        f"pipeline {report.pipeline}."
    )
    failed = [(outcome.report, outcome.error) for outcome in outcomes if outcome.error]
    if failed:
        write("\nFailed:")
        windows = {outcome.report: outcome.failed_windows for outcome in outcomes}
        _show_errors(failed, lambda name: f"not read: {listed(windows[name])}" if windows[name] else "")
    _show_deferred(outcomes)
    _show_unfinished(outcomes)
    _show_kept("Values that do not fit their column", {one.report: one.misfits for one in outcomes})
    _show_kept("Fields that this version does not know", {one.report: one.new_fields for one in outcomes})
    _show_traffic(outcomes)
    if report.stopped:
        write(
            "\nStopped early. The high-water marks and the status show what is loaded; the next run goes on from there."
        )


def _show_errors(errors: Sequence[tuple[str, KlaviyoError]], remark: Callable[[str], str] = lambda name: "") -> None:
    """Write errors with their advice. Reports with the same error are listed together.

    Args:
        remark: name of a report -> a further line about it; empty for none.
    """
    advices = {name: error.advice for name, error in errors}
    alike: dict[tuple[str, str], list[str]] = {}
    for name, error in errors:
        alike.setdefault((str(error), remark(name)), []).append(name)
    next_advices = [*(advices[names[0]] for names in alike.values()), ""][1:]
    for ((message, more), names), next_advice in zip(alike.items(), next_advices, strict=True):
        write(f"  {', '.join(names)}")
        write(f"    {message}")
        if more:
            write(f"    {more}")
        # Errors in a row with the same advice: it follows the last one.
        if advices[names[0]] != next_advice:
            write(f"    {advices[names[0]]}")


def _show_deferred(outcomes: Sequence[Outcome]) -> None:
    deferred = [outcome for outcome in outcomes if outcome.deferred]
    if deferred:
        write("\nLeft to later runs, since Klaviyo limits these requests by the day; the newest are read first:")
        for outcome in deferred:
            write(f"  {outcome.report}: {listed(sorted(outcome.deferred, reverse=True))}")


def _show_unfinished(outcomes: Sequence[Outcome]) -> None:
    found = [(outcome.report, outcome.unfinished) for outcome in outcomes if outcome.unfinished]
    if found:
        write()
    for report, so_far in found:
        write(
            f"{report}: new definition, {number(so_far.done)} of {counted(so_far.requests, 'request')} done; "
            "the table still holds the old one."
        )


def _show_kept(what: str, counts: Mapping[str, Counter[str]]) -> None:
    """Write what is in the column `_extra`.

    Args:
        counts: report -> path -> number of values.
    """
    if not any(counts.values()):
        return
    write(f"\n{what}, kept in column _extra of their rows:")
    for report, values in counts.items():
        most = values.most_common(_MOST_PATHS)
        rest = len(values) - len(most)
        paths = ", ".join(f"{path} {number(count)}" for path, count in most)
        if paths:
            write(f"  {report}: {paths}" + (f" and {counted(rest, 'more path')}" if rest else ""))


def _show_traffic(outcomes: Sequence[Outcome]) -> None:
    refused = [outcome for outcome in outcomes if outcome.refused]
    if refused:
        parts = (f"{o.report} {number(o.refused)} of {counted(o.requests, 'request')}" for o in refused)
        write(f"\nKlaviyo asked to go slower (429): {', '.join(parts)}.")
    retried = [outcome for outcome in outcomes if outcome.retries]
    if retried:
        parts = (f"{o.report} {number(o.retries)}" for o in retried)
        write(f"\nRequests sent again after temporary failures: {', '.join(parts)}.")


# --- data


def _bounds(windows: Sequence[Window]) -> list[dict[str, str | None]]:
    return [
        {
            "start": None if window.start == BEGINNING else _iso(window.start),
            "end": None if window.end == END_OF_TIME else _iso(window.end),
        }
        for window in windows
    ]


def _iso(when: datetime | None) -> str | None:
    return None if when is None else f"{when:%Y-%m-%dT%H:%M:%SZ}"


def _error_info(error: KlaviyoError) -> dict[str, str]:
    return {"kind": type(error).__name__, "message": str(error), "advice": error.advice}
