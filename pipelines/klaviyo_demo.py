"""`make demo`: a made-up account into DuckDB, then three questions to the tables."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import duckdb  # noqa: E402 - after the path is set

from sources.klaviyo.cli.main import main as run_command  # noqa: E402

FOLDER = ROOT / "demo"
QUERIES = {
    "What brought money in, and how much of it the campaigns and flows can claim": """
        select metric_name,
               count(*) as events,
               round(sum((event_properties ->> '$."$value"')::double), 2) as value,
               count(*) filter (json_array_length(attributed_campaign_ids) > 0) as by_campaigns,
               count(*) filter (json_array_length(attributed_flow_ids) > 0) as by_flows
        from klaviyo_sandbox.events
        group by metric_name
        order by value desc nulls last
        limit 5""",
    "The lists, with who is in them now and how many of those may be sent email": """
        select lists.name,
               count(*) as members,
               count(*) filter (profiles.subscriptions_email_marketing_can_receive_email_marketing) as can_get_email
        from klaviyo_sandbox.list_profiles as members
        join klaviyo_sandbox.lists on lists.id = members.list_id
        left join klaviyo_sandbox.profiles on profiles.id = members.profile_id
        where members._dlt_valid_to is null
        group by lists.name
        order by members desc
        limit 5""",
    "Campaigns by channel, with the subject of the latest": """
        select campaigns.channel,
               count(distinct campaigns.id) as campaigns,
               count(distinct campaigns.id) filter (campaigns.archived) as archived,
               max(campaigns.send_time) as last_sent,
               arg_max(messages.definition_content_subject, campaigns.send_time) as last_subject
        from klaviyo_sandbox.campaigns
        left join klaviyo_sandbox.campaign_messages as messages on messages.campaign_id = campaigns.id
        group by campaigns.channel
        order by campaigns desc""",
}


def main() -> int:
    """Load the account into a new folder and show the answers; the exit code."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    os.chdir(FOLDER)
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
    code = run_command(["run", "--sandbox", "--sandbox-events", "50000", "--pipelines-dir", "pipelines"])
    if code:
        return code
    with duckdb.connect("warehouse.duckdb", read_only=True) as connection:
        for title, query in QUERIES.items():
            sys.stdout.write(f"\n{title}\n")
            connection.sql(query).show()
    sys.stdout.write(f"\nThe rows are in {os.path.relpath(Path.cwd() / 'warehouse.duckdb', ROOT)}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
