"""An MCP server on the official Python SDK. Prints its port; `/stats` tells how many sessions it holds."""

import asyncio
import json
import socket

import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

manager = StreamableHTTPSessionManager(app=Server("abandoned"), json_response=True)


def sessions():
    return len(manager._server_instances)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["path"] == "/mcp":
        return await manager.handle_request(scope, receive, send)
    body = json.dumps({"sessions": sessions()}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive, send):
    await receive()
    async with manager.run():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="error", access_log=False)
    await uvicorn.Server(config).serve(sockets=[listener])


asyncio.run(main())
