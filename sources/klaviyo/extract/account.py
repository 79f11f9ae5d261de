"""What a run must know of the account itself: the timezone in which Klaviyo counts its days."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec

from ..catalog.endpoints import endpoints
from ..errors import ContractViolation, KlaviyoError
from ..http import query
from ..http.client import Client, Traffic


class _Attributes(msgspec.Struct):
    timezone: str


class _Record(msgspec.Struct):
    attributes: _Attributes


class _Accounts(msgspec.Struct):
    data: list[_Record]


class Account:
    """The account of a key. It is asked for once, when it is first needed; so is an error."""

    def __init__(self, client: Client, revision: str) -> None:
        self._client, self._revision = client, revision
        self._zone: str | None = None
        self._error: KlaviyoError | None = None

    def timezone(self) -> str:
        """IANA name of its timezone.

        Raises:
            KlaviyoError: it cannot be known.
        """
        if self._error is not None:
            raise self._error
        if self._zone is None:
            try:
                self._zone = self._ask()
            except KlaviyoError as error:
                self._error = error
                raise
        return self._zone

    def _ask(self) -> str:
        endpoint = endpoints(self._revision)["accounts"]
        page = self._client.get(query.url(endpoint), endpoint, endpoint.rate, Traffic())
        try:
            name = msgspec.json.decode(page.body, type=_Accounts).data[0].attributes.timezone
            return ZoneInfo(name).key
        except (msgspec.DecodeError, LookupError, ValueError, OSError) as error:
            raise ContractViolation(f"the account does not tell a timezone that is known here: {error}") from None
