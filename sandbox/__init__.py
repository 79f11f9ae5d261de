"""A local server that stands for Klaviyo: for trials, tests and benchmarks.

    from datetime import UTC, datetime
    from sandbox import Account, Sandbox

    account = Account(seed=7, now=datetime(2026, 6, 30, 12, tzinfo=UTC), events=3000)
    with Sandbox(account) as server:
        ...  # http requests to server.url with the key pk_sandbox

It follows Klaviyo's rules, extracted from Klaviyo's OpenAPI file or official SDK, and knows nothing of any client. The
header `revision` of a request chooses the revision of the API: one account, seen through each. `python -m sandbox` runs
it from the command line.
"""

from .http.faults import Fault
from .http.rate_limits import Limiter
from .http.server import Request, Sandbox
from .store.account import Account

__all__ = ["Account", "Fault", "Limiter", "Request", "Sandbox"]
