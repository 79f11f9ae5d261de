"""The commands and their options. What the settings mean and allow is declared and checked in `config`.

`dlt` builds the parsers of all commands each time it starts, so this module imports nothing that takes long.
"""

from __future__ import annotations

import argparse
import difflib
from typing import Any

from ..config.settings import REPORT_SETTINGS

COMMANDS = {
    "run": "Load reports",
    "plan": "Show what a run would read, and the least it costs",
    "check": "Try the key on every report",
    "reports": "List the reports and their columns",
}


def configure(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the options of a command to its parser. Options that are not given are absent from the namespace."""
    parser.allow_abbrev = False
    parser.argument_default = argparse.SUPPRESS
    what = (
        "reports to describe in full"
        if command == "reports"
        else "reports, or all (default: those of the configuration)"
    )
    parser.add_argument("reports", nargs="*", metavar="REPORT", default=argparse.SUPPRESS, help=what)
    if command in ("run", "plan"):
        for setting in REPORT_SETTINGS.values():
            if setting.switch:
                action = argparse.BooleanOptionalAction
                parser.add_argument(setting.flag, action=action, default=argparse.SUPPRESS, help=setting.help)
            elif setting.metavar:
                parser.add_argument(setting.flag, metavar=setting.metavar, help=setting.help)
        parser.add_argument(
            "--destination", metavar="NAME", help="dlt's name of the destination (default: a DuckDB file)"
        )
        parser.add_argument(
            "--dataset", metavar="NAME", help="dataset in the destination (default: the pipeline's name)"
        )
        # dlt's own option of this name must stand before the pipeline's name; ours may follow the command.
        parser.add_argument("--pipelines-dir", metavar="DIR", help="where dlt keeps its working files")
    if command == "run":
        parser.add_argument("--wait", action="store_true", help="wait for another run of the pipeline to end")
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
    """Let unknown options fail with this command's usage and the nearest option; dlt would show its top-level usage."""
    parse_known_args = parser.parse_known_args

    def strict(args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        parsed, extras = parse_known_args(args, namespace)
        unknown = [extra for extra in extras if extra.startswith("-")]
        if unknown:
            known = [option for action in parser._actions for option in action.option_strings]
            near = difflib.get_close_matches(unknown[0].partition("=")[0], known, n=1)
            parser.error(f"unknown option {unknown[0]}" + (f"; did you mean {near[0]}?" if near else ""))
        # argparse accepts positional arguments in one place only: `run events --reread profiles` leaves `profiles`
        # over.
        if extras:
            parsed.reports = [*getattr(parsed, "reports", []), *extras]
        return parsed, []

    parser.parse_known_args = strict  # type: ignore[assignment, method-assign]
