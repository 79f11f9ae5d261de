"""A local server that stands in for Klaviyo: for trials, tests and benchmarks.

    from datetime import UTC, datetime
    from sandbox import Account, Sandbox

    account = Account(seed=7, now=datetime(2026, 6, 30, 12, tzinfo=UTC), events=3000)
    with Sandbox(account) as server:
        ...  # http requests to server.url with the key pk_sandbox

It follows Klaviyo's rules, which are extracted from Klaviyo's OpenAPI file or official SDK, and shares no code with any
client. The header `revision` of a request chooses the revision of the API: all revisions show the same account. `python
-m sandbox` runs it from the command line.

Imports go down this list only:

- `http`: the server, checks of requests, pages and answers;
- `analytics`: what Klaviyo counts, analytics reports and metric aggregates;
- `store`: where records live, and how they are found and sorted;
- `data`: the contents of the records that an account starts with;
- `rules`: what each endpoint accepts.
"""

from .http.faults import Fault, Storm, new_fault
from .http.rate_limits import Limiter
from .http.server import Request, Sandbox
from .store.account import Account

__all__ = ["Account", "Fault", "Limiter", "Request", "Sandbox", "Storm", "new_fault"]
