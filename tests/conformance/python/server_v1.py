"""A server on the Python SDK 1.x with the tools that the sessions of the matrix call: `server_v1.py http|sse`."""

import asyncio
import sys

from mcp import types
from mcp.server.fastmcp import Context, FastMCP
from pydantic import BaseModel

from serve import serve

mcp = FastMCP("python-v1")


class Form(BaseModel):
    name: str


@mcp.tool()
def echo(message: str) -> str:
    return f"Echo: {message}"


@mcp.tool(name="trigger-long-running-operation")
async def operate(duration: float, steps: int, ctx: Context) -> str:
    for done in range(1, steps + 1):
        await asyncio.sleep(duration / steps)
        await ctx.report_progress(done, steps)
    return "completed"


@mcp.tool(name="trigger-sampling-request")
async def sample(prompt: str, maxTokens: int, ctx: Context) -> str:
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))
    result = await ctx.session.create_message([message], max_tokens=maxTokens, related_request_id=ctx.request_id)
    return result.content.text


@mcp.tool(name="trigger-elicitation-request")
async def elicit(ctx: Context) -> str:
    return (await ctx.elicit("Who?", Form)).data.name


@mcp.tool(name="toggle-simulated-logging")
async def log(ctx: Context) -> str:
    # Belongs to no request: it takes the GET stream.
    await ctx.session.send_log_message("error", "a line")
    return "logged"


if __name__ == "__main__":
    serve(mcp.sse_app() if sys.argv[1] == "sse" else mcp.streamable_http_app())
