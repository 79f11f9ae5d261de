"""Error answers, in Klaviyo's words."""

from __future__ import annotations

import json
import uuid

# Status -> (code, title).
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
        parameter: the query parameter that is wrong, if it is one.
        pointer: otherwise the JSON pointer of the wrong part of the request.
        code: Klaviyo's error code; by default the usual one of the status.
        title: short form of the detail; by default the usual one of the status.
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
    """A 400 error that names the wrong query parameter."""
    return ApiError(400, detail, parameter=parameter)
