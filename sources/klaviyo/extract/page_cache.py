"""The page cache: pages that several reports of one run need are fetched once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from ..http.client import Page


class PageCache:
    """Shares pages among several readers of the same chain (single-flight). Thread-safe.

    A page is kept from its first reader until the last one has taken it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Path of a page -> how many readers its chain has, and how many of them have not taken this page yet.
        self._readers: dict[str, int] = {}
        self._waiting: dict[str, int] = {}
        self._pages: dict[str, Future[Page]] = {}

    def expect(self, path: str) -> None:
        """Announce one more reader of the chain that begins at this path."""
        with self._lock:
            self._readers[path] = self._waiting[path] = self._readers.get(path, 0) + 1

    def get(self, path: str, fetch: Callable[[], Page]) -> Page:
        """Return a page; the first reader fetches it. If that fails, the next reader fetches again.

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
