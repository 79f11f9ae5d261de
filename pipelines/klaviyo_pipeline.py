"""`python pipelines/klaviyo_pipeline.py run`: the same commands as `dlt pipeline klaviyo run`, without an installation."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts pipelines/ on the path, not the project's root.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipelines import klaviyo_cli


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit code."""
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
    for name, help_string in klaviyo_cli.COMMANDS.items():
        command = commands.add_parser(name, help=help_string, description=help_string + ".", parents=[shared])
        klaviyo_cli.configure(name, command)
    args = parser.parse_args(argv)
    args.verbosity = int(getattr(args, "verbose", False))
    return klaviyo_cli.execute(
        args.operation, getattr(args, "pipeline", "klaviyo"), args, debug=getattr(args, "debug", False)
    )


if __name__ == "__main__":
    sys.exit(main())
