"""Adds the commands `run`, `plan`, `check` and `reports` to `dlt pipeline <name>`.

Every `dlt` process imports this module, so it imports other modules of ours only when a command needs them.
"""

from __future__ import annotations

import argparse
import gc
import sys

from dlt.common.configuration import plugins
from dlt.common.configuration.plugins import SupportsCliCommand, TCliCommandCompose, only_host


class _Command(SupportsCliCommand):
    parent = "pipeline"
    compose: TCliCommandCompose = "replace"
    docs_url = None
    description = None

    def configure_parser(self, parser: argparse.ArgumentParser) -> None:
        from .options import configure

        parser.prog = f"dlt pipeline NAME {self.command}"
        configure(self.command, parser)

    def execute(self, args: argparse.Namespace) -> None:
        from dlt._workspace.cli._debug import is_debug_enabled

        from .main import execute

        # dlt's imports stay in memory. Frozen, the garbage collector does not walk them while our modules are imported.
        gc.freeze()
        # dlt lets SystemExit through; its own CliCommandException would add a link to dlt's documentation.
        sys.exit(execute(self.command, args.pipeline_name, args, debug=is_debug_enabled()))


class Run(_Command):
    command = "run"
    help_string = "Load Klaviyo reports"


class Plan(_Command):
    command = "plan"
    help_string = "Show what a run would read from Klaviyo, and the least it costs"


class Check(_Command):
    command = "check"
    help_string = "Try the Klaviyo key on every report"


class Reports(_Command):
    command = "reports"
    help_string = "List the Klaviyo reports and their columns"


# One function for each command, since dlt's hook returns a single class.


@plugins.hookimpl(specname="plug_cli")
@only_host("dlt")
def plug_cli_run(host: str) -> type[SupportsCliCommand] | None:
    return Run


@plugins.hookimpl(specname="plug_cli")
@only_host("dlt")
def plug_cli_plan(host: str) -> type[SupportsCliCommand] | None:
    return Plan


@plugins.hookimpl(specname="plug_cli")
@only_host("dlt")
def plug_cli_check(host: str) -> type[SupportsCliCommand] | None:
    return Check


@plugins.hookimpl(specname="plug_cli")
@only_host("dlt")
def plug_cli_reports(host: str) -> type[SupportsCliCommand] | None:
    return Reports
