"""A server on the Python SDK 2.x with the tools that the sessions of the matrix call: `server_v2.py http|sse`."""

import asyncio
import sys
from typing import Annotated

import mcp_types as types
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve, Sample
from pydantic import BaseModel

from serve import serve

mcp = MCPServer("python-v2")


class Form(BaseModel):
    name: str


def answer(prompt: str, maxTokens: int) -> Sample:
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))
    return Sample([message], max_tokens=maxTokens)


def form() -> Elicit[Form]:
    return Elicit("Who?", Form)


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
def sample(prompt: str, maxTokens: int, result: Annotated[types.CreateMessageResult, Resolve(answer)]) -> str:
    return result.content.text


@mcp.tool(name="trigger-elicitation-request")
def elicit(filled: Annotated[Form, Resolve(form)]) -> str:
    return filled.name


@mcp.tool(name="toggle-simulated-logging")
async def log(ctx: Context) -> str:
    # Belongs to no request: it takes the GET stream, or the subscriptions of clients without sessions.
    await ctx.session.send_log_message("error", "a line")
    await ctx.notify_tools_changed()
    return "logged"


if __name__ == "__main__":
    serve(mcp.sse_app() if sys.argv[1] == "sse" else mcp.streamable_http_app())
