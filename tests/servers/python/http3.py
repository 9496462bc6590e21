"""A client that speaks HTTP/3: `http3.py PORT ADMIN-URL CA-FILE`. Plays sessions and breaks off at each stage.

After each step it waits for the gateway's gauges, with its connection still open: the end of a connection would give
every place back by itself. The last line printed is what came of each step.
"""

import asyncio
import json
import sys
import urllib.request
from contextlib import asynccontextmanager

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamReset

PATIENCE_S = 15
PORT, ADMIN, CA = int(sys.argv[1]), sys.argv[2], sys.argv[3]
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "http3", "version": "1"}},
}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}


class Answer:
    """What has come on a stream so far."""

    def __init__(self):
        self.headers, self.body, self.ended, self.reset = {}, b"", False, False
        self.changed = asyncio.Condition()

    async def until(self, what, holds):
        async with asyncio.timeout(PATIENCE_S):
            async with self.changed:
                await self.changed.wait_for(holds)
        return what


class Client(QuicConnectionProtocol):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.http = H3Connection(self._quic)
        self.answers = {}

    def quic_event_received(self, event):
        if isinstance(event, StreamReset) and event.stream_id in self.answers:
            self.answers[event.stream_id].reset = True
            self.notify(event.stream_id)
        for http_event in self.http.handle_event(event):
            self.http_event_received(http_event)

    def http_event_received(self, event):
        answer = self.answers.get(getattr(event, "stream_id", None))
        if answer is None:
            return
        if isinstance(event, HeadersReceived):
            answer.headers.update((name.decode(), value.decode()) for name, value in event.headers)
        elif isinstance(event, DataReceived):
            answer.body += event.data
        answer.ended = answer.ended or getattr(event, "stream_ended", False)
        self.notify(event.stream_id)

    def notify(self, stream):
        async def tell(changed):
            async with changed:
                changed.notify_all()

        asyncio.ensure_future(tell(self.answers[stream].changed))

    def ask(self, method, message=None, cut=None, **headers):
        """Sends a request, `cut` bytes of its body and no end where that is set. The stream and what comes on it."""
        stream = self._quic.get_next_available_stream_id()
        self.answers[stream] = Answer()
        fields = {":method": method, ":scheme": "https", ":authority": "localhost", ":path": "/mcp"}
        fields |= {"accept": "application/json, text/event-stream"}
        body = b"" if message is None else json.dumps(message).encode()
        if body:
            fields |= {"content-type": "application/json", "content-length": str(len(body))}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        encoded = [(name.encode(), value.encode()) for name, value in fields.items()]
        self.http.send_headers(stream, encoded, end_stream=not body)
        if body:
            self.http.send_data(stream, body[:cut], end_stream=cut is None)
        self.transmit()
        return stream, self.answers[stream]

    async def whole(self, method, message=None, **headers):
        _, answer = self.ask(method, message, **headers)
        await answer.until("the end", lambda: answer.ended or answer.reset)
        return answer

    async def opened(self, **headers):
        answer = await self.whole("POST", INITIALIZE, **headers)
        expect(answer.headers[":status"], "200")
        return answer.headers["mcp-session-id"]

    async def deleted(self, session):
        expect((await self.whole("DELETE", mcp_session_id=session)).headers[":status"], "200")

    def reset(self, stream):
        self._quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self.transmit()

    def stop(self, stream):
        """Wants no more of the answer, and says nothing about the request."""
        self._quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self.transmit()

    def leave(self, stream):
        self._quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self.stop(stream)


def expect(found, wanted):
    if found != wanted:
        raise ValueError(f"{found}, not {wanted}")


@asynccontextmanager
async def connected():
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost")
    configuration.load_verify_locations(CA)
    async with connect("127.0.0.1", PORT, configuration=configuration, create_protocol=Client) as client:
        yield client


def gauges():
    url = f"{ADMIN}/stats?format=json&filter=wasmcustom.mcp_sessions.endpoint.mcp"
    with urllib.request.urlopen(url, timeout=5) as answer:
        stats = json.load(answer)["stats"]
    values = {stat["name"].rsplit(".", 1)[1]: stat["value"] for stat in stats if "value" in stat}
    return tuple(values.get(name, 0) for name in ("active", "reserved", "streams"))


async def until(active, reserved, streams):
    wanted = (active, reserved, streams)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while await asyncio.to_thread(gauges) != wanted:
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise ValueError(f"active, reserved, streams are {gauges()}, not {wanted}") from None


async def session(client):
    opened = await client.opened()
    await until(1, 0, 0)
    answer = await client.whole("POST", LIST, mcp_session_id=opened)
    expect(answer.headers[":status"], "200")
    await client.deleted(opened)


async def stream(client, end, **headers):
    """A session's stream that ends as `end` says, and then the session."""
    opened = await client.opened()
    number, answer = client.ask("GET", mcp_session_id=opened, **headers)
    await answer.until("a head", lambda: answer.headers or answer.reset)
    await end(client, number, answer)
    await until(1, 0, 0)
    await client.deleted(opened)


async def client_leaves(client, number, answer):
    await answer.until("an event", lambda: answer.body)
    await until(1, 0, 1)
    client.leave(number)


async def client_stops(client, number, answer):
    await answer.until("an event", lambda: answer.body)
    await until(1, 0, 1)
    client.stop(number)


async def server_ends(_, __, answer):
    await answer.until("the end", lambda: answer.ended)


async def server_breaks(_, __, answer):
    await answer.until("the break", lambda: answer.reset or answer.ended)


async def before_the_answer(client, abort):
    number, _ = client.ask("POST", INITIALIZE, x_reply="hang")
    await until(0, 1, 0)
    abort(client, number)


async def in_the_body(client):
    number, _ = client.ask("POST", INITIALIZE, cut=40)
    client.leave(number)


async def in_the_answer(client, abort):
    """The answer to `initialize` is a stream that stays open: the session is there, and its opener leaves."""
    number, answer = client.ask("POST", INITIALIZE, x_reply="open")
    await answer.until("a head", lambda: answer.headers)
    opened = answer.headers["mcp-session-id"]
    await until(1, 0, 0)
    abort(client, number)
    await client.deleted(opened)


async def connection_closed(_):
    async with connected() as other:
        opened = await other.opened()
        other.ask("GET", mcp_session_id=opened)
        other.ask("POST", INITIALIZE, x_reply="hang")
        await until(1, 1, 1)
    await until(1, 0, 0)
    async with connected() as other:
        await other.deleted(opened)


STEPS = {
    "a session": session,
    "a stream, the client leaves": lambda client: stream(client, client_leaves),
    "a stream, the client stops it": lambda client: stream(client, client_stops),
    "a stream, the server ends it": lambda client: stream(client, server_ends, x_reply="sse"),
    "a stream, the server breaks off": lambda client: stream(client, server_breaks, x_reply="broken"),
    "reset before the answer": lambda client: before_the_answer(client, Client.leave),
    "stopped before the answer": lambda client: before_the_answer(client, Client.stop),
    "reset in the request's body": in_the_body,
    "reset in the answer": lambda client: in_the_answer(client, Client.leave),
    "stopped in the answer": lambda client: in_the_answer(client, Client.stop),
    "the connection closed": connection_closed,
}


async def play():
    outcome = {}
    async with connected() as client:
        for name, step in STEPS.items():
            try:
                await step(client)
                await until(0, 0, 0)
                outcome[name] = {"ok": True, "detail": ""}
            except Exception as error:
                outcome[name] = {"ok": False, "detail": f"{type(error).__name__}: {error}"}
                break
    print(json.dumps(outcome))


asyncio.run(play())
