"""What a run has to know of the account itself: by which clock Klaviyo counts its days."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec

from . import query
from .client import Client, Traffic
from .endpoints import endpoints
from .errors import ContractViolation, KlaviyoError


class _Attributes(msgspec.Struct):
    timezone: str


class _Record(msgspec.Struct):
    attributes: _Attributes


class _Accounts(msgspec.Struct):
    data: list[_Record]


class Account:
    """The account of a key, asked for when somebody wants to know, and then once."""

    def __init__(self, client: Client, revision: str) -> None:
        self._client, self._revision = client, revision
        self._zone: str | None = None
        self.error: KlaviyoError | None = None

    def timezone(self) -> str | None:
        """IANA name of its timezone; None where it cannot be known, and then `error` says why."""
        if self._zone is None and self.error is None:
            try:
                self._zone = self._ask()
            except KlaviyoError as error:
                self.error = error
        return self._zone

    def _ask(self) -> str:
        endpoint = endpoints(self._revision)["accounts"]
        page = self._client.get(query.url(endpoint), endpoint, endpoint.rate, Traffic())
        try:
            name = msgspec.json.decode(page.body, type=_Accounts).data[0].attributes.timezone
            return ZoneInfo(name).key
        except (msgspec.DecodeError, LookupError, ValueError, OSError) as error:
            raise ContractViolation(f"the account does not tell a timezone that is known here: {error}") from None
