"""The command line: what each command does, and its exit code. Shared by the dlt plugin and the script.

Exit codes: 0 success, 1 a report or the destination failed, 2 a setting or an option is wrong, 3 another run works with
the pipeline, 130 stopped by SIGINT, 143 stopped by SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .options import COMMANDS, configure

if TYPE_CHECKING:
    from ..catalog.report import Report
    from ..config.providers import Configured
    from ..config.settings import Settings


def execute(command: str, pipeline_name: str | None, args: argparse.Namespace, *, debug: bool = False) -> int:
    """Run a command and return the exit code.

    Args:
        command: one of `COMMANDS`.
        pipeline_name: the name between `dlt pipeline` and the command.
        args: parsed by a parser that `configure` set up; `verbosity` above 0 logs more.
        debug: log more, and show tracebacks.
    """
    verbose = debug or bool(getattr(args, "verbosity", 0))
    try:
        name = _checked_name(pipeline_name, command)
        from ..load.dlt_compat import without_telemetry

        with without_telemetry(name):
            if command == "reports":
                return _reports(name, args)
            return {"run": _run, "plan": _plan, "check": _check}[command](name, args, verbose)
    except BrokenPipeError:
        # The reader of the output has ended (`| head`). Without this, Python would print an error when it flushes
        # stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        from .messages import explain, traceback_of

        trouble = explain(error)
        if verbose or not trouble.foreseen:
            sys.stderr.write(traceback_of(error))
        sys.stderr.write(f"error: {trouble.message}\n")
        return trouble.exit_code


def _checked_name(name: str | None, command: str) -> str:
    from ..errors import ConfigError

    # dlt offers our commands for pipelines of any name, and passes None as the name for `dlt pipeline run`.
    if name is None:
        raise ConfigError(f"which pipeline? `dlt pipeline klaviyo {command}`")
    if name != "klaviyo" and not name.startswith("klaviyo_"):
        raise ConfigError(
            f'pipeline "{name}" is not a Klaviyo pipeline: its name must be klaviyo or begin with "klaviyo_", '
            "like klaviyo_acme."
        )
    return name


def _reports(name: str, args: argparse.Namespace) -> int:
    from ..catalog.reports import REPORT_SPANS, described
    from ..config.settings import ALL
    from . import render

    custom = _custom_reports(name)
    named = [report for report in _known_reports(args, list(custom)) if report != ALL]
    infos = [
        render.report_info(custom.get(report) or described(report)) for report in named or [*REPORT_SPANS, *custom]
    ]
    if _is(args, "json"):
        render.write_json(infos)
    elif named or _is(args, "columns"):
        for info in infos:
            render.show_columns(info)
    else:
        render.show_reports(infos)
    return 0


def _custom_reports(name: str) -> Mapping[str, Report]:
    """The custom reports of the configuration; other settings may be missing.

    Raises:
        ConfigError: one of them is wrong.
    """
    from ..config import providers
    from ..config.build import custom_reports

    return custom_reports(providers.read(name))


def _plan(name: str, args: argparse.Namespace, verbose: bool) -> int:
    from ..config import providers
    from ..load.local_files import only_for_this_user
    from ..load.pipeline import open_pipeline
    from ..load.stored_state import current_plans
    from ..plan.estimate import cost_of
    from . import render
    from .progress import logs
    from .trial import account

    configured = providers.configured(name)
    with account(name, args, configured.values) as (working_name, flags):
        settings = _settings(configured, args, flags)
        with logs(verbose), only_for_this_user(settings.private_files):
            pipeline = open_pipeline(working_name, *_place(args))
            cost = cost_of(current_plans(pipeline, settings))
    if _is(args, "json"):
        render.write_json(render.plan_info(cost))
    else:
        render.show_plan(cost)
    return 0


def _check(name: str, args: argparse.Namespace, verbose: bool) -> int:
    from ..config import providers
    from . import render
    from .check import check
    from .progress import logs
    from .trial import account

    configured = providers.configured(name)
    with account(name, args, configured.values) as (_, flags):
        # A check reads no period, so it must not fail for a missing start date.
        args.extract = "all"
        settings = _settings(configured, args, flags)
        with logs(verbose):
            result = check(settings)
    if _is(args, "json"):
        render.write_json(render.check_info(result))
    else:
        render.show_check(result)
    return 0 if result.all_allowed else 1


def _run(name: str, args: argparse.Namespace, verbose: bool) -> int:
    from ..config import providers
    from ..errors import LeaseLost, PipelineBusy
    from ..load.local_files import only_for_this_user
    from ..load.pipeline import open_pipeline
    from ..load.runner import run
    from ..load.turn import Turn
    from . import render
    from .progress import progress
    from .signals import Stop
    from .trial import account

    configured = providers.configured(name)
    with account(name, args, configured.values) as (working_name, flags):
        settings = _settings(configured, args, flags)
        destination, dataset, pipelines_dir = _place(args)
        private = only_for_this_user(settings.private_files)
        with progress(verbose) as shown, Stop(shown.say) as stop, private:
            waiting = Turn(working_name, pipelines_dir, wait=_is(args, "wait"), say=shown.say, stop=stop.requested)
            try:
                with waiting as turn:
                    pipeline = open_pipeline(working_name, destination, dataset, pipelines_dir, turn)
                    # dlt would intercept a signal while it loads, and the next load package would begin.
                    pipeline.runtime_config.intercept_signals = False
                    shown.begin(pipeline, list(settings.reports))
                    outcomes = run(pipeline, settings, on_progress=shown.update, stop=stop.requested, turn=turn)
            except PipelineBusy as error:
                if stop.number is None or isinstance(error, LeaseLost):
                    raise
                # The user did not want to wait any longer.
                return 128 + stop.number
            # dlt keeps the folder of the pipeline's first run for its DuckDB file, so ask for the actual place.
            place = str(pipeline.destination_client().config).removeprefix("duckdb:///")
    report = render.RunReport(
        pipeline.pipeline_name, pipeline.dataset_name, place, outcomes, stopped=stop.number is not None
    )
    if _is(args, "json"):
        render.write_json(report.info())
    else:
        render.show_run(report)
    if stop.number is not None:
        return 128 + stop.number
    return 1 if any(outcome.error for outcome in outcomes) else 0


def _is(args: argparse.Namespace, switch: str) -> bool:
    return bool(getattr(args, switch, False))


def _place(args: argparse.Namespace) -> tuple[str | None, str | None, str | None]:
    """Destination, dataset and working folder."""
    return getattr(args, "destination", None), getattr(args, "dataset", None), getattr(args, "pipelines_dir", None)


def _known_reports(args: argparse.Namespace, custom: Sequence[str] = ()) -> list[str]:
    from ..catalog.reports import REPORT_SPANS
    from ..config.raw_settings import nearest
    from ..config.settings import ALL
    from ..errors import ConfigError

    named: Sequence[str] = getattr(args, "reports", None) or []
    known = [*REPORT_SPANS, *custom]
    for name in named:
        if name not in known and name != ALL:
            raise ConfigError(
                f'unknown report "{name}" (on the command line){nearest(name, known)} '
                f"Allowed: {', '.join(known)}, {ALL}."
            )
    return [ALL] if ALL in named else list(dict.fromkeys(named))


def _settings(configured: Configured, args: argparse.Namespace, flags: Mapping[str, Any]) -> Settings:
    """The settings. Options of the command line take precedence over everything, also over a report's own table.

    Raises:
        ConfigError: a setting is wrong or missing.
    """
    from ..catalog.reports import REPORT_SPANS
    from ..clock import SystemClock
    from ..config.build import settings_from
    from ..config.settings import CUSTOM_REPORTS, REPORT_SETTINGS

    custom = configured.values.get(CUSTOM_REPORTS)
    own = list(custom) if isinstance(custom, Mapping) else []
    typed = {key: value for key, value in vars(args).items() if key in REPORT_SETTINGS}
    everything: dict[str, Any] = {**flags, **typed}
    if typed:
        everything.update({report: typed for report in (*REPORT_SPANS, *own)})
    if named := _known_reports(args, own):
        everything["reports"] = named
    return settings_from(configured.under(everything, "the flag {}"), SystemClock().now())


def main(argv: list[str] | None = None) -> int:
    """Run a command of the script and return the exit code."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--pipeline", default=argparse.SUPPRESS, metavar="NAME", help="pipeline (default: klaviyo)")
    shared.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="log what happens")
    shared.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
    parser = argparse.ArgumentParser(
        prog="klaviyo_pipeline.py",
        parents=[shared],
        allow_abbrev=False,
        description="Copies a Klaviyo account into a warehouse.",
    )
    commands = parser.add_subparsers(dest="operation", required=True, metavar="COMMAND")
    for name, help_string in COMMANDS.items():
        command = commands.add_parser(name, help=help_string, description=help_string + ".", parents=[shared])
        configure(name, command)
    args = parser.parse_args(argv)
    args.verbosity = int(getattr(args, "verbose", False))
    return execute(args.operation, getattr(args, "pipeline", "klaviyo"), args, debug=getattr(args, "debug", False))
