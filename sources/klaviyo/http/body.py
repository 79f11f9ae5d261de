"""The body of an answer, within bounds of time and size."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from ..errors import TransientError

#: Far above any page that was seen: 1000 events of 64 KB each.
MOST_BYTES = 64 << 20
#: What one read takes from the connection at most. For a page of a megabyte, small reads take several times as long.
_READ_BYTES = 1 << 20
#: zlib's window for a gzip header.
_GZIP = 31


def read_body(raw: Any, encoding: str, late: Callable[[], bool]) -> bytes:
    """Read and unpack a whole body.

    Args:
        raw: urllib3's response, of which nothing was read yet.
        encoding: its `Content-Encoding`; gzip or nothing, as was asked for.
        late: whether the time for it is over. A connection that drips never runs into a socket's own timeout.

    Raises:
        TransientError: it takes too long, is too large, or is not packed as it says.
    """
    try:
        packed = _read(raw, late)
    except BaseException:
        # What is left of it would be taken for the next answer.
        raw.close()
        raise
    return _unpacked(packed, encoding)


def _read(raw: Any, late: Callable[[], bool]) -> bytes:
    chunks, size = [], 0
    while chunk := raw.read1(_READ_BYTES, decode_content=False):
        size += len(chunk)
        if size > MOST_BYTES:
            raise TransientError(f"the answer is larger than {MOST_BYTES >> 20} MB")
        if late():
            raise TransientError(f"the answer was not complete in time; {size:,} bytes of it came")
        chunks.append(chunk)
    return b"".join(chunks)


def _unpacked(packed: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return packed
    if encoding != "gzip":
        raise TransientError(f"the answer is packed as {encoding!r}, and gzip was asked for")
    unpacker = zlib.decompressobj(_GZIP)
    try:
        body = unpacker.decompress(packed, MOST_BYTES)
    except zlib.error as error:
        raise TransientError(f"the answer cannot be unpacked: {error}") from None
    if unpacker.unconsumed_tail:
        raise TransientError(f"the answer is larger than {MOST_BYTES >> 20} MB")
    if not unpacker.eof and packed:
        raise TransientError("the answer was cut off")
    return body
