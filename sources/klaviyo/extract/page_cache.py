"""Pages that several reports of one run go through: each is fetched once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from ..http.client import Page


class PageCache:
    """Hands the same pages to all that go through a listing. Thread-safe.

    A page is kept from the first reader until the last one has taken it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # path -> how many go through that listing, and how many of them have not had this page.
        self._readers: dict[str, int] = {}
        self._waiting: dict[str, int] = {}
        self._pages: dict[str, Future[Page]] = {}

    def expect(self, path: str) -> None:
        """One more reader will ask for the listing that begins there."""
        with self._lock:
            self._readers[path] = self._waiting[path] = self._readers.get(path, 0) + 1

    def get(self, path: str, fetch: Callable[[], Page]) -> Page:
        """A page, from whoever asked for it first. Where that one fails, the next one asks again.

        Args:
            fetch: sends the request.
        """
        while True:
            with self._lock:
                if not self._waiting.get(path):
                    break
                page = self._pages.get(path)
                first = page is None
                if page is None:
                    page = self._pages[path] = Future()
            if first:
                self._fill(path, page, fetch)
            elif page.exception() is not None:
                continue
            with self._lock:
                self._waiting[path] -= 1
                if not self._waiting[path]:
                    del self._pages[path]
            return page.result()
        return fetch()

    def _fill(self, path: str, page: Future[Page], fetch: Callable[[], Page]) -> None:
        try:
            fetched = fetch()
        except BaseException as error:
            with self._lock:
                del self._pages[path]
            page.set_exception(error)
            raise
        with self._lock:
            if fetched.next is not None:
                self._readers[fetched.next] = self._waiting[fetched.next] = self._readers[path]
        page.set_result(fetched)
