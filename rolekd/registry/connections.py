"""Limits for clients of a server: connections, time and bytes."""

import asyncio
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_GRACE_SECONDS = 10.0  # longer than the server waits for the next request of a connection
_BUSY = b'{"error_code": "BAD_REQUEST", "message": "too many connections; try again"}'
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\nRetry-After: 1\r\nContent-Length: %d\r\n\r\n%s" % (len(_BUSY), _BUSY)
)


@dataclass(frozen=True)
class Limits:
    """Of each worker.

    Attributes:
        body: largest body of a request, in bytes.
        connections: open at once; a further one is refused.
        seconds: for a request to arrive and its turn to come.
    """

    body: int
    connections: int
    seconds: float


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 whose connections are bounded in number, and end if no answer was completed in time.

    uvicorn waits forever for the head of a request, and for a client to read its answer. The
    application cannot see either; it bounds what it can see, with an answer, a little earlier.
    """

    def __init__(self, *arguments: Any, limits: Limits, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of a connection, or refuse it."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            transport.write(_REFUSAL)
            transport.close()
        else:
            self._restart()

    def on_response_complete(self) -> None:
        """Start the clock anew for the next request."""
        self._restart()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _restart(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        seconds = self._limits.seconds + _GRACE_SECONDS
        # not close(): data that a client does not read would keep the connection open
        self._deadline = self.loop.call_later(seconds, self.transport.abort)
