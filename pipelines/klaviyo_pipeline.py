"""`python pipelines/klaviyo_pipeline.py run`: the same commands as `dlt pipeline klaviyo run`, without an installation."""

import sys
from pathlib import Path

# Python puts pipelines/ on the path, not the project's root.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sources.klaviyo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
