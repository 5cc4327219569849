"""Streaming parser of multipart/related bodies and their encodings."""

import base64
import re
from collections.abc import AsyncIterator
from email.message import Message

from ..api.calls import JSON_LIMIT
from ..errors import bad_request, too_large

HEADERS_LIMIT = 65536
"""Maximum size of the text before the first boundary, and of a part's headers."""


class Multipart:
    """Reader of a multipart/related body with two parts.

    Lines end with CRLF, or with LF as Python's email package writes them. The first boundary line
    decides which, so that a content may end in either.
    """

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        message = Message()
        message["Content-Type"] = content_type
        boundary = message.get_param("boundary")
        if message.get_content_maintype() != "multipart" or not isinstance(boundary, str):
            raise bad_request("Missing multipart boundary.")
        self._boundary = b"--" + boundary.encode()
        self._chunks = chunks
        self._buffer = bytearray()
        self._newline = b"\r\n"
        self._base64 = False
        self.metadata_type = ""

    async def _more(self, limit: int = HEADERS_LIMIT) -> None:
        """Read the next chunk; raise a 413 if too much is buffered already."""
        if len(self._buffer) > limit:
            raise too_large()
        async for chunk in self._chunks:
            if chunk:
                self._buffer += chunk
                return
        raise bad_request("Malformed multipart body.")

    async def _headers(self) -> Message:
        """Read a part's headers, up to the empty line."""
        while True:
            found = re.match(rb"(?:[^\r\n]+\r?\n)*\r?\n", bytes(self._buffer[:HEADERS_LIMIT]))
            if found is not None:
                break
            await self._more()
        message = Message()
        for line in self._buffer[: found.end()].decode("latin-1").splitlines():
            name, _, value = line.partition(":")
            if value:
                message[name.strip()] = value.strip()
        del self._buffer[: found.end()]
        return message

    async def read_metadata(self) -> bytes:
        """Read the first part; set the type that it states."""
        while True:
            start = self._buffer.find(self._boundary)
            end = self._buffer.find(b"\n", start + 1)
            if start >= 0 and end >= 0:
                break
            await self._more()
        self._newline = b"\r\n" if self._buffer[end - 1 : end] == b"\r" else b"\n"
        del self._buffer[: end + 1]
        self.metadata_type = (await self._headers()).get("Content-Type", "")
        delimiter = self._newline + self._boundary
        while (end := self._buffer.find(delimiter)) < 0:
            await self._more(JSON_LIMIT)
        if end > JSON_LIMIT:
            raise too_large()
        metadata = bytes(self._buffer[:end])
        del self._buffer[: end + len(delimiter)]
        return metadata

    async def start_media(self) -> str:
        """Read the second part's headers; return its content type."""
        while b"\n" not in self._buffer:
            await self._more()
        line_end = self._buffer.index(b"\n")
        if self._buffer.startswith(b"--"):
            raise bad_request("The multipart body has no media part.")
        del self._buffer[: line_end + 1]
        headers = await self._headers()
        self._base64 = headers.get("Content-Transfer-Encoding", "").lower() == "base64"
        return headers.get("Content-Type", "")

    async def _raw(self) -> AsyncIterator[bytes]:
        delimiter = self._newline + self._boundary
        while (end := self._buffer.find(delimiter)) < 0:
            keep = len(delimiter) - 1
            if len(self._buffer) > keep:
                piece = bytes(self._buffer[:-keep])
                del self._buffer[:-keep]
                yield piece
            await self._more()
        yield bytes(self._buffer[:end])
        async for _ in self._chunks:
            pass  # the epilogue is ignored

    async def media(self) -> AsyncIterator[bytes]:
        """Yield the second part's content, decoded if it is base64."""
        if not self._base64:
            async for piece in self._raw():
                yield piece
            return
        rest = b""
        async for piece in self._raw():
            rest += b"".join(piece.split())
            cut = len(rest) // 4 * 4
            yield _unbase64(rest[:cut])
            rest = rest[cut:]
        if rest:
            raise bad_request("Malformed base64 media.")


def _unbase64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise bad_request("Malformed base64 media.") from None
