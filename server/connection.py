"""A client's connection: bytes in, requests, responses, bytes out. llhttp parses the requests."""

import re
import socket
import time
from collections import deque
from contextlib import suppress
from functools import lru_cache
from http.client import responses
from math import inf
from typing import NamedTuple
from wsgiref.handlers import format_date_time

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from handlers.http.problems import (
    HEAD_TOO_LARGE,
    MALFORMED_REQUEST,
    REQUEST_TIMEOUT,
    UNKNOWN_CODING,
    Kind,
)

from .gateway import MAX_KEPT_BYTES, GatewayRequest, GatewayResponse, Piece, refusal

RECEIVE_BYTES = 1 << 18  # taken from the socket at a time
MAX_HEAD_BYTES = 1 << 16  # also of what comes between two pieces of a body, and after it
HEAD_DETAIL = f"Send headers of at most {MAX_HEAD_BYTES:,} bytes."
MAX_DISCARDED_BYTES = 10_000_000  # of a body that has been refused
# Between two requests. Proxies drop an idle connection of theirs after 60 seconds (ALB, nginx). If
# we did so first, they would send a request into a connection that is about to close.
IDLE_SECONDS = 75.0
# For a request's first byte to its last, for the client's silence in its midst, and for the rest
# that it sends after a refusal.
PATIENCE_SECONDS = 20.0
# Between two parts of a response that the system takes. It has some megabytes in its own hands: a
# client that reads 50 KB a second takes them in 40 seconds.
SENDING_SECONDS = 60.0
# A large body has one more second for each so many bytes of it, as in Apache's mod_reqtimeout.
MIN_BYTES_PER_SECOND = 500
NOTHING = memoryview(b"")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TLS_HANDSHAKE = b"\x16"  # the first byte of a TLS connection
# What a target in absolute form has before path and query (RFC 9112, 3.2.2).
AUTHORITY = re.compile(r"\Ahttps?://[^/?#]*", re.IGNORECASE)


class _Whole(NamedTuple):
    """A request that is there to its end, and whether another one may follow its response."""

    request: GatewayRequest
    keeps_alive: bool
    takes_chunks: bool  # HTTP/1.0 does not


class Connection:
    """The server's end of one connection. It never waits for the client.

    Requests that were sent together are answered one after another.
    """

    def __init__(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        self.socket = accepted
        self.is_open = True
        self._parser = HttpRequestParser(self)
        self._requests: deque[_Whole] = deque()
        self._unsent = NOTHING
        self._is_last = False  # close the connection when all is sent
        self.is_live = False  # a response has begun, and parts of it follow
        self._refusal: GatewayResponse | None = None  # follows the requests, and is the last
        self._discarded: int | None = None  # bytes that came after the last response
        self._head_bytes = 0
        self._steps = 0  # heads, pieces of bodies and ends that have come
        self._moved_at = self._began_at = time.monotonic()
        self._field_bytes = 0
        self._has_begun = False  # a part of a request is there
        self._method = ""
        self._expects_continue = False

    @property
    def request(self) -> GatewayRequest | None:
        """The request that is to be answered next, if it is there to its end."""
        return self._requests[0].request if self._requests else None

    @property
    def is_sending(self) -> bool:
        """Whether the client has to read before more can be sent."""
        return len(self._unsent) > 0

    @property
    def deadline(self) -> float:
        """When `expire` is due, by `time.monotonic`.

        Never while a request is being answered, unless its client does not take what is sent.
        """
        if self.is_sending:
            return self._moved_at + SENDING_SECONDS
        if self._requests:
            return inf
        if self._discarded is not None:
            return self._began_at + PATIENCE_SECONDS
        if self._has_begun:
            slowest = self._began_at + len(self._body) / MIN_BYTES_PER_SECOND
            return min(slowest, self._moved_at) + PATIENCE_SECONDS
        return self._moved_at + IDLE_SECONDS

    def expire(self) -> None:
        """Tell the client that its request takes too long, or close a connection without one."""
        if self.is_sending or self._discarded is not None or not self._has_begun:
            self.is_open = False
        else:
            detail = (
                "The rest of the request did not come in time: send it again, and without a break "
                f"of {PATIENCE_SECONDS:.0f} seconds."
            )
            self._refuse(REQUEST_TIMEOUT, detail)
            self._send_refusal()

    def receive(self) -> None:
        """Take in what has come, unless there is a request to be answered."""
        if self._requests:
            return
        try:
            received = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:  # the client has left
            self.is_open = False
            return
        self._moved_at = time.monotonic()
        if self._discarded is not None:
            self._discarded += len(received)
            self.is_open = len(received) > 0 and self._discarded < MAX_DISCARDED_BYTES
        elif not received:
            self.is_open = False
        else:
            self._parse(received)

    def respond(self, response: GatewayResponse) -> None:
        """Send the response to the request."""
        answered = self._requests.popleft()
        keeps_alive = answered.keeps_alive and not self._is_last
        if keeps_alive and not answered.takes_chunks:  # HTTP/1.0, whose connections end else
            response = response._replace(headers=[*response.headers, ("Connection", "keep-alive")])
        # Nothing was read meanwhile, so the next request, if it has begun, gets its whole time.
        self._began_at = self._moved_at = time.monotonic()
        self._send(response, keeps_alive)
        self._send_refusal()

    def begin(self, response: GatewayResponse) -> None:
        """Send the beginning of a live response. More of it follows by `go_on`."""
        self.is_live = True
        headers = [pair for pair in response.headers if pair[0] != "Content-Length"]
        headers += [("Transfer-Encoding", "chunked")] * self._requests[0].takes_chunks
        beginning = response._replace(headers=headers, body=self._chunk(response.body))
        self._send(beginning, self._keeps_alive_after_live, is_whole=False)

    @property
    def _keeps_alive_after_live(self) -> bool:
        """Without chunks, only the end of the connection tells the end of the response."""
        first = self._requests[0]
        return first.keeps_alive and first.takes_chunks and not self._is_last

    def go_on(self, piece: Piece) -> None:
        """Send a further part of a live response. All before it is sent, or `is_sending` tells."""
        sent = self._chunk(piece.content)
        if piece.is_last:
            if not piece.is_cut:
                sent += b"0\r\n\r\n" * self._requests[0].takes_chunks
            self._is_last = piece.is_cut or not self._keeps_alive_after_live
            self._requests.popleft()
            self.is_live = False
            self._began_at = self._moved_at = time.monotonic()
        self._unsent = memoryview(bytes(self._unsent) + sent)
        self.flush()

    def _chunk(self, content: bytes) -> bytes:
        """A part of a body as HTTP/1.1 sends it (RFC 9112, 7.1). The empty one would be the end."""
        if not self._requests[0].takes_chunks or not content:
            return content
        return b"%x\r\n%b\r\n" % (len(content), content)

    def flush(self) -> None:
        """Send as much as the system takes."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
                self._moved_at = time.monotonic()
        except BlockingIOError:
            return
        except OSError:  # the client has left
            self.is_open = False
            return
        self._unsent = NOTHING  # an empty part of the response would keep all of it
        if self._is_last:
            self._end()
        else:
            self._send_refusal()
            self._send_continue()

    def _end(self) -> None:
        """Close after the last response. A client that still sends has to read the response first:
        if a socket is closed before all is read from it, the client gets a reset instead.
        """
        self._requests.clear()
        if not self._has_begun and not self._has_unread():
            self.is_open = False
            return
        self._discarded = 0
        self._began_at = time.monotonic()
        with suppress(OSError):  # the client has left
            self.socket.shutdown(socket.SHUT_WR)

    def _has_unread(self) -> bool:
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:  # there is nothing, or the client has left
            return False

    def _send(self, response: GatewayResponse, keeps_alive: bool, is_whole: bool = True) -> None:
        self._is_last = is_whole and not keeps_alive
        named = [("Date", _date(int(time.time()))), *response.headers]
        if not keeps_alive:
            named.append(("Connection", "close"))
        lines = [f"{name}: {value}" for name, value in named]
        head = "\r\n".join(
            [f"HTTP/1.1 {response.status} {responses.get(response.status, '')}", *lines]
        )
        if head.count("\n") != len(lines) or head.count("\r") != len(lines):
            raise ValueError("A header of the response has a line break.")
        self._unsent = memoryview(head.encode("latin-1") + b"\r\n\r\n" + response.body)
        self.flush()

    # --- Parsing

    def _parse(self, received: bytes) -> None:
        steps = self._steps
        try:
            self._parser.feed_data(received)
        except HttpParserUpgrade as upgrade:
            self._ignore_upgrade(received[upgrade.args[0] :])
        except HttpParserError as error:
            self._refuse(MALFORMED_REQUEST, self._fault(received, error))
        self._head_bytes = self._head_bytes + len(received) if self._steps == steps else 0
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HEAD_TOO_LARGE, HEAD_DETAIL)
        else:
            self._send_continue()
        self._send_refusal()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Stay with HTTP/1.1, as RFC 9110, 7.8 lets a server do.

        llhttp takes what follows the head for another protocol. So it gets the head once more,
        without the header that says so.
        """
        if self._refusal is not None or not self._requests or self._method == "CONNECT":
            return
        keeps_alive = self._requests.pop().keeps_alive
        names = [name for name in self._headers if name not in ("upgrade", "connection")]
        lines = [f"{name}: {value}" for name in names for value in self._headers[name]]
        lines.append(f"connection: {'keep-alive' if keeps_alive else 'close'}")
        version = self._parser.get_http_version()
        first = f"{self._method} {self._target.decode('latin-1')} HTTP/{version}"
        self._parser = HttpRequestParser(self)
        self._parse("\r\n".join([first, *lines, "\r\n"]).encode("latin-1") + rest)

    def _fault(self, received: bytes, error: HttpParserError) -> str:
        """What is wrong with a request that llhttp does not take."""
        if received.startswith(TLS_HANDSHAKE) and self._steps == 0:
            return "This port speaks HTTP and not TLS: write http:// instead of https://."
        if self._has_begun and self._parser.get_method() == b"PRI":
            return "This port speaks HTTP/1.1 and not HTTP/2: send HTTP/1.1."
        return f"{error}: send a request as in RFC 9112."

    def _refuse(self, kind: Kind, detail: str) -> None:
        """Answer something that is not a request of ours, after the requests before it."""
        is_after_the_last = bool(self._requests) and not self._requests[-1].keeps_alive
        if self._refusal is None and not is_after_the_last:
            self._refusal = refusal(kind, detail, self._method)

    def _send_continue(self) -> None:
        """Ask for the body of a request whose client waits for that, if its turn has come."""
        is_busy = self._requests or self.is_sending or self._refusal is not None
        if self._expects_continue and not is_busy:
            self._expects_continue = False
            self._unsent = memoryview(CONTINUE)
            self.flush()

    def _send_refusal(self) -> None:
        if self._refusal is not None and not self._requests and not self.is_sending:
            self._has_begun = True
            self._send(self._refusal, keeps_alive=False)
            self._refusal = None

    # What llhttp found. These have the names that httptools gives them.

    def on_message_begin(self) -> None:
        self._method, self._target = "", b""
        self._field_bytes = 0  # of the head and the trailers
        self._headers: dict[str, list[str]] = {}
        self._body = bytearray()
        self._is_in_head = True
        self._has_begun = True
        self._began_at = self._moved_at

    def on_url(self, part: bytes) -> None:
        self._target += part
        self._field_bytes += len(part)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._field_bytes += len(name) + len(value)
        if self._is_in_head:  # a trailer must not pass for a header
            values = self._headers.setdefault(name.decode("latin-1").lower(), [])
            values.append(value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._steps += 1
        self._method = self._parser.get_method().decode("latin-1")
        version, hosts = self._parser.get_http_version(), self._headers.get("host", [])
        if version not in ("1.0", "1.1"):
            self._refuse(MALFORMED_REQUEST, f"This port does not speak HTTP/{version}: send 1.1.")
        elif len(hosts) > 1 or (version == "1.1" and not hosts):  # RFC 9112, 3.2
            self._refuse(MALFORMED_REQUEST, "Send one Host header.")
        # llhttp refuses a body that does not end in chunks, and Content-Length beside them.
        coding = self._headers.get("transfer-encoding", ["chunked"])
        if len(coding) > 1 or coding[0].strip().lower() != "chunked":
            self._refuse(UNKNOWN_CODING, "Send the body without Transfer-Encoding, or chunked.")
        expected = self._headers.get("expect", [""])[-1].lower()
        self._expects_continue = version == "1.1" and expected == "100-continue"

    def on_body(self, part: bytes) -> None:
        self._steps += 1
        if len(self._body) > MAX_KEPT_BYTES:
            return
        self._body += part
        if len(self._body) > MAX_KEPT_BYTES:  # the app refuses it, and the rest is not read
            self._append(keeps_alive=False)

    def on_message_complete(self) -> None:
        self._steps += 1
        self._has_begun = self._expects_continue = False
        if self._field_bytes > MAX_HEAD_BYTES:  # also if all of it came at once
            self._refuse(HEAD_TOO_LARGE, HEAD_DETAIL)
        if len(self._body) <= MAX_KEPT_BYTES:
            self._append(self._parser.should_keep_alive())

    def _append(self, keeps_alive: bool) -> None:
        """Let the request be answered, unless one before it is refused."""
        if self._refusal is not None:
            return
        target = self._target.decode("latin-1")
        if not target.startswith("/"):
            target = AUTHORITY.sub("", target)
        if ";" in target:  # Chalice takes what follows it at the end of a path for parameters
            path, mark, query = target.partition("?")
            target = path.replace(";", "%3B") + mark + query
        request = GatewayRequest(self._method, target, self._headers, bytes(self._body))
        takes_chunks = self._parser.get_http_version() != "1.0"
        self._requests.append(_Whole(request, keeps_alive, takes_chunks))


@lru_cache(1)
def _date(seconds: int) -> str:
    return format_date_time(seconds)
