"""The errors of this source, grouped by what the user does next.

KlaviyoError
├─ ConfigError            fix the setting
├─ AuthError              fix the key; names the missing scope
├─ RequestRejected        400, 404, 410: carries the API's code and detail
├─ RateLimited            wait `retry_after_s`
│  └─ DailyQuotaExhausted stop, resume tomorrow
├─ TransientError         retries spent: run again
├─ PipelineBusy           another run has the pipeline: wait for it
│  └─ LeaseLost           another run took over: run again when it has ended
├─ StorageError           make room, or give the right to write
└─ ContractViolation      the data differs from the declared columns
"""

from __future__ import annotations


class KlaviyoError(Exception):
    """Base of all errors that this source raises on purpose."""

    #: What the user can do about it, one short sentence.
    advice = ""


class ConfigError(KlaviyoError):
    """A setting is wrong. Raised before any request is sent, unless only Klaviyo can tell (names of metrics)."""

    advice = "Fix the setting and run again."


class AuthError(KlaviyoError):
    """Klaviyo refused the key (401), the key lacks a scope, or the account's plan lacks a feature (403).

    Attributes:
        status: the HTTP status.
        detail: Klaviyo's own explanation.
    """

    advice = "Fix the key or its scopes in Klaviyo (Settings > API keys), then run again."

    def __init__(self, message: str, *, status: int, detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail
        if self.lacks_scope is False:
            self.advice = "The account's plan lacks this feature: leave the report out, or ask Klaviyo for it."

    @property
    def lacks_scope(self) -> bool | None:
        """Whether Klaviyo's words are about a scope of the key, or about the account's plan; None where they do not
        tell. Seen for a plan: "You must have Advanced KDP enabled"."""
        words = self.detail.lower()
        if self.status != 403 or "scope" in words:
            return True
        return False if any(word in words for word in ("enabled", "plan", "upgrade", "advanced kdp")) else None


class RequestRejected(KlaviyoError):
    """Klaviyo will not answer this request, now or later (400, 404, 410 and the like).

    Attributes:
        status: the HTTP status.
        code: Klaviyo's error code.
        detail: Klaviyo's own explanation.
        parameter: the query parameter that Klaviyo objects to; empty where it names none.
    """

    advice = "The same request will be refused again; the detail above says what Klaviyo objects to."

    def __init__(
        self, message: str, *, status: int, code: str = "", detail: str = "", parameter: str = "", advice: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.detail = detail
        self.parameter = parameter
        self.advice = advice or self.advice


class RateLimited(KlaviyoError):
    """Klaviyo asks for a longer wait than `max_wait_s` allows.

    Attributes:
        retry_after_s: seconds that Klaviyo asks for.
    """

    advice = "Run again after the wait; it goes on where this run stopped."

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DailyQuotaExhausted(RateLimited):
    """The daily quota of this endpoint is spent."""

    advice = "Run again tomorrow; it goes on where this run stopped."


class TransientError(KlaviyoError):
    """A temporary failure (5xx, dropped connection, incomplete body) that every retry met again.

    Attributes:
        retry_after_s: seconds that Klaviyo asks to wait before the next attempt; 0 where it does not say.
    """

    advice = "Run again; it goes on where this run stopped."

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PipelineBusy(KlaviyoError):
    """Another run works with this pipeline. The message names it. Nothing was read or changed."""

    advice = "Run again when it has ended, or let this run wait: --wait, or sync(..., wait=True)."


class LeaseLost(PipelineBusy):
    """Another run took the pipeline over, since this one did not renew its lease in time. What this run had not loaded
    by then is not loaded. Happens when a machine is suspended, or cut off from the destination."""

    advice = "Run again when the other run has ended; it goes on from the last load package that was committed."


class StorageError(KlaviyoError):
    """A file or folder of this machine cannot be written."""

    advice = (
        "Make room, or give this user the right to write there; or choose another place (--pipelines-dir, DLT_DATA_DIR, "
        "[destination]). A run goes on from the last load package that was committed."
    )


class ContractViolation(KlaviyoError):
    """An answer that no table can hold: a parent record without an id, a series with dates outside its request, or an
    account without a known timezone."""

    advice = "Klaviyo sent something that is not a record; please report it with the revision and the report's name."
