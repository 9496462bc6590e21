"""The Python SDK 1.x as a client: `client_v1.py http|sse URL`."""

import sys
from contextlib import asynccontextmanager

from mcp import ClientSession, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client

import session

KIND, URL = sys.argv[1:]


async def sampled(*_):
    content = types.TextContent(type="text", text=session.SAMPLED)
    return types.CreateMessageResult(role="assistant", content=content, model="none")


async def elicited(*_):
    return types.ElicitResult(action="accept", content={"name": session.ELICITED})


@asynccontextmanager
async def connect(log):
    async def logged(_):
        log.set()

    transport = {"http": streamablehttp_client, "sse": sse_client}[KIND](URL, headers=session.HEADERS)
    async with (
        transport as streams,
        ClientSession(
            *streams[:2], sampling_callback=sampled, elicitation_callback=elicited, logging_callback=logged
        ) as client,
    ):
        yield client, (await client.initialize()).serverInfo.name


session.run(connect)
