"""A refusal, as Klaviyo words it."""

from __future__ import annotations

import json
import uuid

# status -> (code, title)
WORDING = {
    400: ("invalid", "Invalid input."),
    401: ("not_authenticated", "Authentication credentials were not provided."),
    403: ("permission_denied", "You do not have permission to perform this action."),
    404: ("not_found", "Not found."),
    405: ("method_not_allowed", "Method not allowed."),
    410: ("gone", "This revision is no longer available."),
    415: ("unsupported_media_type", "Unsupported media type."),
    429: ("throttled", "Request was throttled."),
    500: ("error", "A server error occurred."),
    501: ("not_implemented", "The sandbox has no data for this endpoint."),
    502: ("bad_gateway", "Bad gateway."),
    503: ("service_unavailable", "Service temporarily unavailable."),
    504: ("gateway_timeout", "Gateway timeout."),
}


class ApiError(Exception):
    """A request that is answered with an error status.

    Args:
        status: HTTP status.
        detail: what is wrong, in a sentence.
        parameter: the query parameter at fault, if it is one.
        pointer: JSON pointer of the part of the request at fault, else.
        code: Klaviyo's word for it; the usual one of the status otherwise.
        title: short form of the detail; the usual one of the status otherwise.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        parameter: str | None = None,
        pointer: str | None = None,
        code: str | None = None,
        title: str | None = None,
    ) -> None:
        super().__init__(detail)
        usual_code, usual_title = WORDING.get(status, ("error", "Error."))
        self.status = status
        self.detail = detail
        self.source = {"parameter": parameter} if parameter else {"pointer": pointer or "/data"}
        self.code = code or usual_code
        self.title = title or usual_title

    def body(self) -> bytes:
        """The JSON:API error document."""
        error = {
            "id": str(uuid.uuid4()),
            "status": self.status,
            "code": self.code,
            "title": self.title,
            "detail": self.detail,
            "source": self.source,
            "links": {},
            "meta": {},
        }
        return json.dumps({"errors": [error]}).encode()


def invalid(detail: str, parameter: str | None = None) -> ApiError:
    """A 400 that names the query parameter at fault."""
    return ApiError(400, detail, parameter=parameter)
