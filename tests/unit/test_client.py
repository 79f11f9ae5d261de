"""The HTTP door against a small server that answers as it is told: what is an error, what is tried again, what leaks."""

from __future__ import annotations

import gzip
import json
import resource
import socket
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sources.klaviyo.catalog.endpoints import endpoints
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.config.build import build
from sources.klaviyo.config.raw_settings import RawSettings
from sources.klaviyo.config.report_facts import facts
from sources.klaviyo.errors import (
    AuthError,
    DailyQuotaExhausted,
    KlaviyoError,
    RateLimited,
    RequestRejected,
    TransientError,
)
from sources.klaviyo.http.client import Client, Page, Traffic
from sources.klaviyo.http.rate_limit import Governor
from tests.support.clock import FakeClock

KEY = "pk_verysecret1234"
PATH = "/api/events?filter=equals(email,'someone@example.com'),x&page%5Bsize%5D=1000"
PAGE = b'{"data":[],"links":{"next":null}}'
EVENTS = endpoints(DEFAULT_REVISION)["events"]

#: Writes one answer.
Answer = Callable[["Handler"], None]


def answer(status: int = 200, body: bytes = PAGE, **headers: str) -> Answer:
    def write(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return write


def error(status: int, *errors: dict[str, Any], **headers: str) -> Answer:
    return answer(status, json.dumps({"errors": errors}).encode(), **headers)


def dropped(handler: Handler) -> None:
    """The connection ends before anything was said."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def cut(handler: Handler) -> None:
    """The connection ends within the body."""
    answer(body=PAGE[:10], Content_Length=str(len(PAGE)))(handler)
    dropped(handler)


def cut_chunks(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"5\r\n" + PAGE[:5] + b"\r\n")
    dropped(handler)


def foreign(handler: Handler) -> None:
    """Something that is not HTTP."""
    handler.wfile.write(b"hello\r\n\r\n")
    dropped(handler)


def silent(handler: Handler) -> None:
    """No answer within the time that the client is willing to wait."""
    handler.server.released.wait(10)
    dropped(handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        script = self.server.script
        (script.pop(0) if len(script) > 1 else script[0])(self)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Answers by its script, the last line of it again and again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Answer] = [answer()]
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.connections = 0
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    yield from serving()


@pytest.fixture
def stranger() -> Iterator[Server]:
    """Another host, which must never hear from us."""
    yield from serving()


def serving() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


class Visit:
    """A client, what it cost and the time that it has waited."""

    def __init__(self, url: str, *, clock: FakeClock | None = None, **given: Any) -> None:
        now = datetime(2026, 7, 1, tzinfo=UTC)
        settings = build(
            RawSettings({"api_key": KEY, "base_url": url, "extract": "all", **given}), facts(DEFAULT_REVISION), now
        )
        self.clock, self.stop, self.traffic = clock or FakeClock(), threading.Event(), Traffic()
        self.client = Client(settings, Governor(self.clock, settings.max_wait_s, self.stop, chance=lambda: 1.0))

    def get(self, path: str = PATH) -> Page:
        return self.client.get(path, EVENTS, EVENTS.rate, self.traffic)

    def fails(self, kind: type[KlaviyoError], path: str = PATH) -> Any:
        """The error, of exactly that kind, that holds neither the key nor the query."""
        with pytest.raises(kind) as caught:
            self.get(path)
        assert type(caught.value) is kind
        shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
        assert KEY not in shown
        assert "someone" not in shown
        return caught.value

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.traffic.requests, self.traffic.refused, self.traffic.retries


@pytest.fixture
def visit(server: Server) -> Iterator[Visit]:
    one = Visit(server.url)
    yield one
    one.client.close()


#: Makes a client that is closed when the test is over.
Closing = Callable[..., Visit]


@pytest.fixture
def closing() -> Iterator[Closing]:
    with ExitStack() as stack:

        def made(url: str, **options: Any) -> Visit:
            one = Visit(url, **options)
            stack.callback(one.client.close)
            return one

        yield made


def test_a_page_comes_with_the_path_of_the_next_one(server: Server, visit: Visit) -> None:
    body = b'{"data":[{"id":"e"}],"links":{"next":"https://a.klaviyo.com/api/events?page%5Bcursor%5D=abc%3D"}}'
    server.script = [answer(body=body)]
    assert visit.get() == Page(body, "/api/events?page%5Bcursor%5D=abc%3D")
    server.script = [answer()]
    assert visit.get() == Page(PAGE, None)
    assert visit.counts == (2, 0, 0)


def test_a_request_carries_what_klaviyo_asks_for(server: Server, visit: Visit) -> None:
    visit.get("/api/events?page%5Bsize%5D=1000&filter=a%2Cb%3A%20c")
    ((path, headers),) = server.requests
    assert path == "/api/events?page%5Bsize%5D=1000&filter=a%2Cb%3A%20c"
    assert headers["Authorization"] == f"Klaviyo-API-Key {KEY}"
    assert headers["revision"] == DEFAULT_REVISION
    assert headers["Accept"] == "application/vnd.api+json"
    assert headers["Accept-Encoding"] == "gzip"
    assert headers["User-Agent"].startswith("dlt-klaviyo/")


def test_a_token_is_sent_as_a_bearer(server: Server) -> None:
    one = Visit(server.url, api_key=None, access_token="to.ken")
    one.get()
    assert server.requests[0][1]["Authorization"] == "Bearer to.ken"
    one.client.close()


def test_compressed_answers_are_unpacked(server: Server, visit: Visit) -> None:
    server.script = [answer(body=gzip.compress(PAGE), Content_Encoding="gzip")]
    assert visit.get().body == PAGE


def test_connections_are_used_again_also_after_errors(server: Server, visit: Visit) -> None:
    server.script = [answer(), error(404, {"detail": "gone"}), error(503), answer()]
    visit.get()
    visit.fails(RequestRejected)
    visit.get()
    assert (len(server.requests), server.connections) == (4, 1)


# --- errors


DETAIL = {"code": "some_code", "title": "Title.", "detail": "Klaviyo's own words."}


@pytest.mark.parametrize("status", [400, 402, 404, 405, 409, 410, 415, 422])
def test_what_klaviyo_rejects_is_not_asked_again(status: int, server: Server, visit: Visit) -> None:
    server.script = [error(status, DETAIL)]
    failure = visit.fails(RequestRejected)
    assert (failure.status, failure.code, failure.detail) == (status, "some_code", "Klaviyo's own words.")
    assert str(failure) == f"Klaviyo refused /api/events ({status}): Klaviyo's own words."
    assert visit.counts == (1, 0, 0)


def test_a_key_that_is_not_accepted_is_an_error_of_its_own(server: Server, visit: Visit) -> None:
    server.script = [error(401, DETAIL)]
    failure = visit.fails(AuthError)
    assert str(failure) == "Klaviyo does not accept the key (401): Klaviyo's own words."
    assert (failure.status, failure.detail) == (401, "Klaviyo's own words.")


def test_a_missing_scope_is_named(server: Server, visit: Visit) -> None:
    server.script = [error(403, DETAIL)]
    failure = visit.fails(AuthError)
    assert str(failure) == "the key may not read /api/events (403): Klaviyo's own words. (needs events:read)"
    assert visit.counts == (1, 0, 0)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520, 522, 524])
def test_a_passing_fault_is_tried_again_and_given_up_in_the_end(status: int, server: Server, visit: Visit) -> None:
    server.script = [error(status, DETAIL)]
    failure = visit.fails(TransientError)
    assert str(failure) == f"Klaviyo answered {status} for /api/events: Klaviyo's own words. (6 attempts)"
    assert visit.counts == (6, 0, 5)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", ""),
        (b"<html>Bad Gateway</html>", ""),
        (b'{"errors":[]}', ""),
        (b'{"errors":"x"}', ""),
        (b'{"errors":[{"detail":7}]}', ""),
        (b'{"errors":[{"detail":"\xff"}]}', ""),
        (b'{"errors":[{"title":"Title."}]}', ": Title."),
        (b'{"errors":[{"title":"Title.","detail":"A."},{"detail":"B."}]}', ": A. / B."),
        (json.dumps({"errors": [{"detail": f"Bad key {KEY}."}]}).encode(), ": Bad key ***."),
        (
            b'{"errors":[{"detail":"See /api/x?email=someone@example.com for more."}]}',
            ": See /api/x?… for more.",
        ),
    ],
)
def test_an_error_body_of_any_kind_is_told_as_far_as_it_says_something(
    body: bytes, said: str, server: Server, visit: Visit
) -> None:
    server.script = [answer(400, body)]
    assert str(visit.fails(RequestRejected)) == f"Klaviyo refused /api/events (400){said}"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int, server: Server, stranger: Server, visit: Visit) -> None:
    server.script = [answer(status, b"", Location=f"{stranger.url}/api/events")]
    assert visit.fails(RequestRejected).status == status
    assert (len(server.requests), stranger.connections) == (1, 0)


@pytest.mark.parametrize("location", ["https://elsewhere.example/", "http://[", ""])
def test_a_redirect_with_a_packed_body_is_refused_like_any_other(location: str, server: Server, visit: Visit) -> None:
    server.script = [answer(302, gzip.compress(b"<html>moved"), Content_Encoding="gzip", Location=location)]
    assert visit.fails(RequestRejected).status == 302


def test_the_body_of_a_redirect_has_the_bounds_of_any_other(server: Server, visit: Visit) -> None:
    packed = gzip.compress(bytes(65 << 20), 1)
    server.script = [answer(302, packed, Content_Encoding="gzip", Location="/elsewhere")]
    assert "larger than 64 MB" in str(visit.fails(TransientError))


# --- passing faults


FAULTS = {
    "dropped": dropped,
    "cut": cut,
    "cut chunks": cut_chunks,
    "cut document": answer(body=PAGE[:-1]),
    "cut gzip": answer(body=gzip.compress(PAGE)[:-12], Content_Encoding="gzip"),
    "no gzip": answer(body=PAGE, Content_Encoding="gzip"),
    "a page for people": answer(body=b"<html>Sorry</html>"),
    "nothing": answer(body=b""),
    "no HTTP": foreign,
    "no address": answer(body=b'{"links":{"next":"http://[x"}}'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_answer_that_is_not_whole_is_asked_for_again(fault: str, server: Server, visit: Visit) -> None:
    server.script = [FAULTS[fault], FAULTS[fault], answer()]
    assert visit.get() == Page(PAGE, None)
    assert visit.counts == (3, 0, 2)


@pytest.mark.parametrize("fault", FAULTS)
def test_answers_that_are_never_whole_are_given_up(fault: str, server: Server, visit: Visit) -> None:
    server.script = [FAULTS[fault]]
    assert str(visit.fails(TransientError)).endswith("(6 attempts)")
    assert visit.counts == (6, 0, 5)


def test_different_faults_in_a_row_count_together(server: Server, visit: Visit) -> None:
    server.script = [error(500), dropped, error(503), cut, error(524), answer()]
    visit.get()
    assert visit.counts == (6, 0, 5)


def test_pauses_between_attempts_double_and_vary(server: Server, visit: Visit) -> None:
    server.script = [error(500)]
    visit.fails(TransientError)
    for number, pause in enumerate(visit.clock.waits):
        assert 0.25 * 2**number <= pause <= 0.5 * 2**number
    assert len(visit.clock.waits) == 5


def test_a_server_that_does_not_answer_in_time_is_a_passing_fault(server: Server) -> None:
    # Long enough for the answer after it on a busy machine.
    one = Visit(server.url, request_timeout_s=0.5)
    server.script = [silent, answer()]
    one.get()
    assert one.counts == (2, 0, 1)
    one.client.close()


def test_a_server_that_is_not_there_is_a_passing_fault_without_the_query_in_its_message() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        one = Visit(f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert str(one.fails(TransientError)).startswith("no whole answer from /api/events: ")
    one.client.close()


def test_nothing_is_tried_again_once_the_run_is_ending(server: Server, visit: Visit) -> None:
    def ending(handler: Handler) -> None:
        visit.stop.set()
        error(500)(handler)

    server.script = [ending]
    visit.fails(TransientError)
    assert visit.counts == (1, 0, 0)


# --- rate limits


@pytest.mark.parametrize(("header", "waited_s"), [("7", 7), ("0", 1), ("-3", 1), (None, 1), ("soon", 60), ("2.5", 2.5)])
def test_a_wait_that_klaviyo_asks_for_is_waited(
    header: str | None, waited_s: float, server: Server, visit: Visit
) -> None:
    server.script = [error(429, **({"Retry_After": header} if header else {})), answer()]
    visit.get()
    assert visit.counts == (2, 1, 0)
    assert sum(visit.clock.waits) == pytest.approx(waited_s)


def test_being_refused_is_no_attempt_but_not_endless_either(server: Server, visit: Visit) -> None:
    server.script = [*[error(429, Retry_After="1")] * 20, error(500), answer()]
    visit.get()
    assert visit.counts == (22, 20, 1)
    server.script = [error(429, Retry_After="1")]
    visit.fails(RateLimited)
    assert visit.traffic.refused == 20 + 31


def test_a_longer_wait_than_allowed_ends_at_once_and_says_how_long(server: Server, visit: Visit) -> None:
    server.script = [error(429, Retry_After="301")]
    failure = visit.fails(RateLimited)
    assert failure.retry_after_s == 301
    assert str(failure) == "Klaviyo asks /api/events to wait 301 s (429)"
    assert visit.clock.waits == []


def test_a_wait_of_hours_is_the_end_of_the_day(server: Server, visit: Visit) -> None:
    server.script = [error(429, Retry_After="30000")]
    assert visit.fails(DailyQuotaExhausted).retry_after_s == 30_000
    assert visit.counts == (1, 1, 0)


def test_the_headers_of_an_answer_reach_the_governor(server: Server, visit: Visit) -> None:
    server.script = [answer(RateLimit_Remaining="0", RateLimit_Reset="20"), answer()]
    visit.get()
    visit.get()
    assert sum(visit.clock.waits) == pytest.approx(20)


# --- where the key goes


@pytest.mark.parametrize(
    "link",
    [
        "http://127.0.0.1:{port}/api/events?page=2",
        "//127.0.0.1:{port}/api/events?page=2",
        "@127.0.0.1:{port}/api/events?page=2",
        "@127.0.0.1:{port}",
        "http:@127.0.0.1:{port}/api/events?page=2",
        "http:////127.0.0.1:{port}/api/events?page=2",
        "\\\\@127.0.0.1:{port}/x",
    ],
)
def test_the_next_page_is_asked_for_at_the_configured_host_whatever_the_link_names(
    link: str, server: Server, stranger: Server, visit: Visit
) -> None:
    named = link.format(port=stranger.server_port)
    server.script = [answer(body=json.dumps({"links": {"next": named}}).encode()), answer()]
    page = visit.get()
    assert page.next is not None
    assert page.next.startswith("/")
    visit.get(page.next)
    assert (len(server.requests), stranger.connections) == (2, 0)
    assert server.requests[1][1]["Authorization"] == f"Klaviyo-API-Key {KEY}"


def test_a_base_url_may_have_a_path(server: Server) -> None:
    one = Visit(f"{server.url}/proxied/")
    one.get("/api/events?a=1")
    assert server.requests[0][0] == "/proxied/api/events?a=1"
    one.client.close()


def test_somebodys_netrc_does_not_replace_the_key(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password mine\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    one = Visit(server.url)
    one.get()
    assert server.requests[0][1]["Authorization"] == f"Klaviyo-API-Key {KEY}"
    one.client.close()


def test_a_proxy_of_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    one = Visit("http://klaviyo.invalid", allow_http=True)
    one.get("/api/events")
    assert server.requests[0][0] == "http://klaviyo.invalid/api/events"
    one.client.close()


def test_cookies_are_not_kept(server: Server, visit: Visit) -> None:
    server.script = [answer(Set_Cookie="a=b; Path=/"), answer()]
    visit.get()
    visit.get()
    assert "Cookie" not in server.requests[1][1]


# --- answers that are too slow, too large, or not what they say


def drips(handler: Handler) -> None:
    """A byte now and then: the socket never waits long enough to run into its own timeout."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(PAGE)))
    handler.end_headers()
    for place in range(len(PAGE)):
        handler.wfile.write(PAGE[place : place + 1])
        handler.wfile.flush()
        if handler.server.released.wait(0.05):
            return


class Impatient(FakeClock):
    """Retries wait no time, and a body may take 0.3 s of the machine's own."""

    def monotonic(self) -> float:
        return time.monotonic() * 200


def test_an_answer_that_drips_is_given_up_after_the_timeout_of_a_request(server: Server, closing: Closing) -> None:
    server.script = [drips, answer()]
    visit = closing(server.url, clock=Impatient())
    began_s = time.monotonic()
    assert visit.get().next is None
    # 60 s of the clock, which runs 200 times as fast, and what the answer after it took.
    assert 0.25 < time.monotonic() - began_s < 2
    assert visit.traffic.retries == 1


def bomb(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


def test_a_small_answer_that_unpacks_to_a_large_one_is_refused_before_it_fills_the_memory(
    server: Server, closing: Closing
) -> None:
    packed = bomb(300)
    assert len(packed) < 1 << 20
    server.script = [answer(body=packed, Content_Encoding="gzip")]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    failure = closing(server.url).fails(TransientError)
    assert "larger than 64 MB" in str(failure)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_large_answer_is_refused_whether_it_is_packed_or_not(server: Server, closing: Closing) -> None:
    server.script = [answer(body=bytes(65 << 20))]
    assert "larger than 64 MB" in str(closing(server.url).fails(TransientError))


@pytest.mark.parametrize(
    ("body", "encoding", "words"),
    [
        (gzip.compress(PAGE)[:-9], "gzip", "cut off"),
        (b"not gzip at all", "gzip", "cannot be unpacked"),
        (PAGE, "br", "packed as 'br'"),
    ],
    ids=["cut", "nonsense", "brotli"],
)
def test_a_body_that_is_not_packed_as_it_says_is_asked_for_again(
    server: Server, closing: Closing, body: bytes, encoding: str, words: str
) -> None:
    server.script = [answer(body=body, Content_Encoding=encoding)]
    visit = closing(server.url)
    assert words in str(visit.fails(TransientError))
    assert visit.traffic.requests == 6


def test_a_failure_that_says_when_to_come_back_is_waited_for(server: Server, closing: Closing) -> None:
    server.script = [error(503, Retry_After="40"), answer()]
    visit = closing(server.url)
    assert visit.get().next is None
    assert sum(visit.clock.waits) >= 40
    server.script = [error(503, Retry_After="4000")]
    assert closing(server.url).fails(RateLimited).retry_after_s == 4000


def test_a_redirect_says_that_base_url_is_wrong_and_the_key_does_not_follow_it(
    server: Server, closing: Closing, stranger: Server
) -> None:
    server.script = [answer(301, b"", Location=f"{stranger.url}/api/events?email=a@b.c")]
    failure = closing(server.url).fails(RequestRejected)
    assert f"{server.url} answered 301, a redirect to 127.0.0.1: base_url must be the API itself" in str(failure)
    assert failure.advice == "Set base_url to the address of the API, or leave it out."
    assert stranger.requests == []


@pytest.mark.parametrize(
    ("detail", "lacks_scope", "words"),
    [
        ("You must have Advanced KDP enabled to use this feature.", False, "leave the report out"),
        ("The API key is missing the scope events:read", True, "Fix the key"),
        ("Forbidden", None, "Fix the key"),
    ],
)
def test_a_feature_that_the_plan_lacks_is_not_called_a_missing_scope(
    server: Server, closing: Closing, detail: str, lacks_scope: bool | None, words: str
) -> None:
    server.script = [error(403, {"detail": detail})]
    failure = closing(server.url).fails(AuthError)
    assert failure.lacks_scope is lacks_scope
    assert words in failure.advice
    assert ("needs events:read" in str(failure)) is (lacks_scope is not False)
