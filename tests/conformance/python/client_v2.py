"""The Python SDK 2.x as a client: `client_v2.py legacy|auto|sse URL`."""

import asyncio
import sys
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

import session

MODE, URL = sys.argv[1:]


async def sampled(*_):
    content = types.TextContent(type="text", text=session.SAMPLED)
    return types.CreateMessageResult(role="assistant", content=content, model="none")


async def elicited(*_):
    return types.ElicitResult(action="accept", content={"name": session.ELICITED})


async def changes(client, log):
    """Without sessions there is no GET stream: what the server has to say comes over a subscription."""
    async with client.listen(tools_list_changed=True) as subscription:
        async for _ in subscription:
            log.set()


@asynccontextmanager
async def connect(log):
    async def logged(_):
        log.set()

    async with AsyncExitStack() as stack:
        if MODE == "sse":
            transport = sse_client(URL, headers=session.HEADERS)
        else:
            timeout = httpx2.Timeout(30, read=300)
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=session.HEADERS, timeout=timeout))
            transport = streamable_http_client(URL, http_client=http)
        client = Client(
            transport,
            mode="auto" if MODE == "auto" else "legacy",
            sampling_callback=sampled,
            elicitation_callback=elicited,
            logging_callback=logged,
        )
        client = await stack.enter_async_context(client)
        listening = None
        if client.protocol_version >= "2026-07-28":
            listening = asyncio.create_task(changes(client, log))
        yield client, client.server_info.name
        if listening:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


session.run(connect)
