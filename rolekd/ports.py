"""Servers in the foreground: they own their port before it is printed, and end completely.

Standard library only.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

from rolekd.errors import InputError


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """Return a socket that listens on an address, so that no other process can.

    Raises:
        InputError: It is taken, not allowed, or none of this machine's; `option` chooses another.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise InputError(
            f"{option} {port}: cannot listen on {host} ({error.strerror}); end the program that "
            "uses it, or choose another"
        ) from error
    return listener


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let TERM and HUP (a terminal that was closed) end the block as Ctrl-C does: with its cleanup.

    The process then ends with 128 and the signal's number. What `nohup` has it ignore is ignored.
    """

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {}
    if threading.current_thread() is threading.main_thread():  # signals come there alone
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def hanging_up_ends() -> Iterator[None]:
    """Let HUP do what TERM does, for a server that has an answer to TERM alone."""

    def end(_: int, __: FrameType | None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    ):
        yield
        return
    before = signal.signal(signal.SIGHUP, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
