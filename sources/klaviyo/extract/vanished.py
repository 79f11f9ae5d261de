"""Parents that vanish between being listed and being asked for their children.

Klaviyo mostly answers 404 for them, and 400 for some (seen). A 400 can also mean that the request itself is wrong, and
then the report must fail. Only Klaviyo can tell the two apart: it is asked for the parent's own record.
"""

from __future__ import annotations

import logging

from ..catalog.capabilities import capabilities
from ..catalog.endpoints import endpoint_of, endpoints
from ..catalog.model import Endpoint, EndpointRow
from ..errors import KlaviyoError, RequestRejected
from ..http import query
from ..http.client import Client, Traffic

log = logging.getLogger("klaviyo")


class Vanished:
    """Tells whether a refused request for children was refused because their parent is gone.

    Args:
        revision: of the API.
    """

    def __init__(self, client: Client, revision: str) -> None:
        self._client, self._revision = client, revision

    def explains(self, error: RequestRejected, endpoint: Endpoint, parent_id: str, traffic: Traffic) -> bool:
        """Whether the parent is gone. Costs a request, unless the error cannot mean that.

        Args:
            error: the refusal of a request for the parent's children.
            endpoint: of the children.
            traffic: counts the request.
        """
        own = own_endpoint(endpoint, self._revision)
        if error.status not in (400, 404) or own is None:
            return False
        try:
            self._client.get(query.url(own, parent_id=parent_id), own, own.rate, traffic)
        except RequestRejected as answer:
            # Nothing but the id is asked for here. So a 400 that names the id is about the id.
            gone = answer.status == 404 or (answer.status == 400 and parent_id in answer.detail)
        except KlaviyoError:
            return False
        else:
            gone = False
        if gone:
            log.info("%s: its parent %s is gone, so it has no records", endpoint.path, parent_id)
        return gone


def own_endpoint(endpoint: Endpoint, revision: str) -> Endpoint | None:
    """The endpoint of a single parent's own record; None where Klaviyo has none.

    Args:
        endpoint: of the parent's children.
    """
    parent = endpoint.parent
    if parent is None:
        return None
    above = endpoints(revision).get(parent.endpoint)
    path = f"/api/{parent.rows}s" if parent.rows else above.path if above else ""
    facts = next((facts for facts in capabilities(revision).values() if facts.template == f"{path}/{{id}}"), None)
    return None if facts is None else endpoint_of(EndpointRow(facts.operation, facts.template, "One record."), facts)
