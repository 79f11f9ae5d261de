"""A database server for the tests of destinations."""

from __future__ import annotations

import os

from tests.support.postgres import postgres_dsn, postgres_server

__all__ = ["postgres_dsn", "postgres_server"]

#: On request only: it needs an account, and costs its owner.
collect_ignore = [] if os.environ.get("KLAVIYO_TEST_SNOWFLAKE") == "1" else ["test_snowflake_account.py"]
