"""The command line: options, commands, exit codes. Shared by the dlt plugin and the script.

Exit codes: 0 all is well, 1 a report failed or the destination did, 2 a setting or an option is wrong,
130 and 143 stopped by SIGINT and SIGTERM.

`dlt` builds every parser for every command, so nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sources.klaviyo.settings import Settings
    from sources.klaviyo.spec import Report

COMMANDS = {
    "run": "Load reports",
    "plan": "Show what a run would read, and the least it costs",
    "check": "Try the key on every report",
    "reports": "List the reports and their columns",
}

#: Flag -> (metavar, help). What they mean and allow is checked with the rest of the settings.
_PERIOD = {
    "--extract": ("incremental|all", "read a period, or everything and replace what is there"),
    "--start-date": ("DATE", "start of the period, UTC: 2026-01-31 or 2026-01-31T09:30:00Z"),
    "--end-date": ("DATE", "end of the period, UTC; a date includes that day (default: now)"),
    "--period": (
        "NAME",
        "yesterday, week_to_date, previous_week, month_to_date, previous_month or year_to_date, instead of two dates",
    ),
    "--lookback-days": ("N", "days behind the last run's end that are read again (default: 1)"),
    "--split-by": ("none|hour|day|week|month|auto", "how to cut the period into chunks (default: auto)"),
}
_SWITCHES = {
    "--advance-on-failure": "move on over chunks that fail for good",
    "--reread": "read the whole period again, even where it is loaded",
}

#: The sandbox's data ends here, so that the account is the same one in every run.
SANDBOX_END = datetime(2026, 7, 1, tzinfo=UTC)
SANDBOX_HISTORY_DAYS = 90


def configure(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the options of a command to its parser. What is not typed does not appear in the namespace."""
    parser.allow_abbrev = False
    parser.argument_default = argparse.SUPPRESS
    what = (
        "reports to describe in full"
        if command == "reports"
        else "reports, or all (default: those of the configuration)"
    )
    parser.add_argument("reports", nargs="*", metavar="REPORT", default=argparse.SUPPRESS, help=what)
    if command in ("run", "plan"):
        for flag, (metavar, help_string) in _PERIOD.items():
            parser.add_argument(flag, metavar=metavar, help=help_string)
        for flag, help_string in _SWITCHES.items():
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=help_string
            )
        parser.add_argument(
            "--destination", metavar="NAME", help="dlt's name of the destination (default: a DuckDB file)"
        )
        parser.add_argument(
            "--dataset", metavar="NAME", help="dataset in the destination (default: the pipeline's name)"
        )
        # dlt takes this one only before the pipeline's name.
        parser.add_argument("--pipelines-dir", metavar="DIR", help="where dlt keeps its working files")
    if command == "reports":
        parser.add_argument("--columns", action="store_true", help="with the columns of all reports")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    sandbox = parser.add_argument_group("trial", "a made-up account, served by this process; needs no key")
    sandbox.add_argument("--sandbox", action="store_true", help="use the made-up account")
    for name, metavar in (("events", "N"), ("profiles", "N"), ("latency-ms", "MS")):
        help_string = "wait of each answer" if metavar == "MS" else f"{name} that it has"
        sandbox.add_argument(f"--sandbox-{name}", type=_count, metavar=metavar, help=help_string)
    _be_strict(parser)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number, 0 or more')
    return int(text)


def _be_strict(parser: argparse.ArgumentParser) -> None:
    """Refuse unknown options with this command's own usage and the nearest option; dlt would show its top-level usage."""
    parse_known_args = parser.parse_known_args

    def strict(args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        parsed, extras = parse_known_args(args, namespace)
        unknown = [extra for extra in extras if extra.startswith("-")]
        if unknown:
            known = [option for action in parser._actions for option in action.option_strings]
            near = difflib.get_close_matches(unknown[0].partition("=")[0], known, n=1)
            parser.error(f"unknown option {unknown[0]}" + (f"; did you mean {near[0]}?" if near else ""))
        # argparse takes reports in one run only: `run events --reread profiles` leaves the last one over.
        if extras:
            parsed.reports = [*getattr(parsed, "reports", []), *extras]
        return parsed, []

    parser.parse_known_args = strict  # type: ignore[assignment, method-assign]


def execute(command: str, pipeline_name: str | None, args: argparse.Namespace, *, debug: bool = False) -> int:
    """Run a command; the exit code.

    Args:
        pipeline_name: what comes between `dlt pipeline` and the command.
        args: as parsed by a parser that `configure` set up, with `verbosity`.
        debug: show tracebacks.
    """
    verbose = debug or bool(getattr(args, "verbosity", 0))
    try:
        name = _checked_name(pipeline_name, command)
        if command == "reports":
            return _reports(name, args)
        return {"run": _run, "plan": _plan, "check": _check}[command](name, args, verbose)
    except BrokenPipeError:
        # Whoever read the output (`| head`) has enough of it; Python would complain once more when it flushes the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        from pipelines.klaviyo_trouble import explain, traceback_of

        trouble = explain(error)
        if verbose or not trouble.foreseen:
            sys.stderr.write(traceback_of(error))
        sys.stderr.write(f"error: {trouble.message}\n")
        return trouble.exit_code


def _checked_name(name: str | None, command: str) -> str:
    from sources.klaviyo.errors import ConfigError

    # dlt offers our commands for every pipeline's name, and takes `dlt pipeline run` for a name that is missing.
    if name is None:
        raise ConfigError(f"which pipeline? `dlt pipeline klaviyo {command}`")
    if name != "klaviyo" and not name.startswith("klaviyo_"):
        raise ConfigError(
            f'pipeline "{name}" is none of ours: the names of Klaviyo pipelines begin with "klaviyo", '
            "like klaviyo or klaviyo_acme."
        )
    return name


def _reports(name: str, args: argparse.Namespace) -> int:
    from pipelines import klaviyo_view as view
    from sources.klaviyo.reports import REPORT_SPANS, described
    from sources.klaviyo.settings import ALL

    custom = _custom_reports(name)
    named = [report for report in _known_reports(args, list(custom)) if report != ALL]
    infos = [view.report_info(custom.get(report) or described(report)) for report in named or [*REPORT_SPANS, *custom]]
    if _is(args, "json"):
        view.write_json(infos)
    elif named or _is(args, "columns"):
        for info in infos:
            view.show_columns(info)
    else:
        view.show_reports(infos)
    return 0


def _custom_reports(name: str) -> Mapping[str, Report]:
    """The custom reports of the configuration, whatever else in it is missing.

    Raises:
        ConfigError: one of them is wrong.
    """
    from sources.klaviyo import config, custom
    from sources.klaviyo.limits import SystemClock
    from sources.klaviyo.settings import Raw

    raw = config.read(name)
    if not custom.names(raw):
        return {}
    kept = {key: value for key, value in raw.values.items() if key in (custom.CUSTOM_REPORTS, "revision")}
    # No request is sent, so no key is needed.
    made = custom.settings_from(Raw({**kept, "api_key": "pk_none", "extract": "all"}, raw.origins), SystemClock().now())
    return made.custom


def _plan(name: str, args: argparse.Namespace, verbose: bool) -> int:
    from pipelines import klaviyo_view as view
    from pipelines.klaviyo_cost import cost_of
    from pipelines.klaviyo_open import open_pipeline
    from pipelines.klaviyo_plan import plan
    from pipelines.klaviyo_progress import logs

    with _account(name, args) as (working_name, flags):
        settings = _settings(name, args, flags)
        with logs(verbose):
            pipeline = open_pipeline(working_name, *_place(args))
            cost = cost_of(plan(pipeline, settings))
    if _is(args, "json"):
        view.write_json(view.plan_info(cost))
    else:
        view.show_plan(cost)
    return 0


def _check(name: str, args: argparse.Namespace, verbose: bool) -> int:
    from pipelines import klaviyo_view as view
    from pipelines.klaviyo_check import check
    from pipelines.klaviyo_progress import logs

    with _account(name, args) as (_, flags):
        # A check reads no period, so it needs no start date either.
        args.extract = "all"
        settings = _settings(name, args, flags)
        with logs(verbose):
            result = check(settings)
    if _is(args, "json"):
        view.write_json(view.check_info(result))
    else:
        view.show_check(result)
    return 0 if result.all_allowed else 1


def _run(name: str, args: argparse.Namespace, verbose: bool) -> int:
    from pipelines import klaviyo_view as view
    from pipelines.klaviyo_open import open_pipeline
    from pipelines.klaviyo_progress import progress
    from pipelines.klaviyo_run import run
    from pipelines.klaviyo_stop import Stop

    with _account(name, args) as (working_name, flags):
        settings = _settings(name, args, flags)
        with progress(verbose) as shown, Stop(shown.say) as stop:
            pipeline = open_pipeline(working_name, *_place(args))
            # dlt would swallow a signal while it loads, and the next package would begin.
            pipeline.runtime_config.intercept_signals = False
            shown.begin(pipeline, list(settings.reports))
            outcomes = run(pipeline, settings, on_progress=shown.update, stop=stop.requested)
            # The folder of a DuckDB file is that of the pipeline's first run, wherever this one was started.
            place = str(pipeline.destination_client().config).removeprefix("duckdb:///")
    report = view.RunReport(
        pipeline.pipeline_name, pipeline.dataset_name, place, outcomes, stopped=stop.number is not None
    )
    if _is(args, "json"):
        view.write_json(report.info())
    else:
        view.show_run(report)
    if stop.number is not None:
        return 128 + stop.number
    return 1 if any(outcome.error for outcome in outcomes) else 0


def _is(args: argparse.Namespace, switch: str) -> bool:
    return bool(getattr(args, switch, False))


def _place(args: argparse.Namespace) -> tuple[str | None, str | None, str | None]:
    """Destination, dataset and working folder."""
    return getattr(args, "destination", None), getattr(args, "dataset", None), getattr(args, "pipelines_dir", None)


def _known_reports(args: argparse.Namespace, custom: Sequence[str] = ()) -> list[str]:
    from sources.klaviyo.errors import ConfigError
    from sources.klaviyo.reports import REPORT_SPANS
    from sources.klaviyo.settings import ALL, nearest

    named: Sequence[str] = getattr(args, "reports", None) or []
    known = [*REPORT_SPANS, *custom]
    for name in named:
        if name not in known and name != ALL:
            raise ConfigError(
                f'unknown report "{name}" (on the command line){nearest(name, known)} '
                f"Allowed: {', '.join(known)}, {ALL}."
            )
    return [ALL] if ALL in named else list(dict.fromkeys(named))


def _settings(name: str, args: argparse.Namespace, flags: Mapping[str, Any]) -> Settings:
    """Settings with what was typed above everything else, a report's own table in the configuration included.

    Raises:
        ConfigError: a setting is wrong or missing.
    """
    from pipelines.klaviyo_open import load_settings
    from sources.klaviyo import config, custom
    from sources.klaviyo.reports import REPORT_SPANS
    from sources.klaviyo.settings import REPORT_SETTINGS

    own = custom.names(config.read(name))
    typed = {key: value for key, value in vars(args).items() if key in REPORT_SETTINGS}
    everything: dict[str, Any] = {**flags, **typed}
    if typed:
        everything.update({report: typed for report in (*REPORT_SPANS, *own)})
    if named := _known_reports(args, own):
        everything["reports"] = named
    return load_settings(name, everything)


@contextmanager
def _account(name: str, args: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pipeline's working name and the settings that the account brings: none, or those of the sandbox.

    The sandbox has a pipeline, and so a state and a dataset, of its own: made-up rows must not mix with real ones.
    """
    sizes = {key.removeprefix("sandbox_"): value for key, value in vars(args).items() if key.startswith("sandbox_")}
    if not _is(args, "sandbox"):
        if sizes:
            from sources.klaviyo.errors import ConfigError

            raise ConfigError(f"--sandbox-{next(iter(sizes)).replace('_', '-')} needs --sandbox.")
        yield name, {}
        return
    from sandbox import Account, Sandbox
    from sources.klaviyo import config

    latency_ms = sizes.pop("latency_ms", 0)
    account = Account(now=SANDBOX_END, history_days=SANDBOX_HISTORY_DAYS, **sizes)
    account.now = lambda: datetime.now(UTC)
    with Sandbox(account, latency_s=latency_ms / 1000, rate_limits=True, keep_requests=False) as server:
        # An empty token beats a configured one, which would contradict the key.
        flags: dict[str, Any] = {"base_url": server.url, "api_key": "pk_sandbox", "access_token": ""}
        configured = config.read(name).values
        given = {**configured, **vars(args)}
        if not any(given.get(key) for key in ("start_date", "period")):
            flags["start_date"] = (SANDBOX_END - timedelta(days=SANDBOX_HISTORY_DAYS)).date().isoformat()
        yield (name if name.endswith("_sandbox") else f"{name}_sandbox"), flags
