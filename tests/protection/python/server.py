"""A server on an official Python SDK that keeps sessions: `server.py v1|v2|guarded`. /held tells how many it holds, its
resident memory, and the most that was.

`guarded` (1.x only): each caller has a bearer token, which is who it is.
"""

import gc
import logging
import os
import resource
import sys

from starlette.responses import JSONResponse
from starlette.routing import Route

from serve import serve

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE


def guarded():
    from mcp.server.auth.provider import AccessToken
    from mcp.server.auth.settings import AuthSettings
    from mcp.server.fastmcp import FastMCP

    class Verifier:
        async def verify_token(self, token):
            return AccessToken(token=token, client_id=token, scopes=[])

    auth = AuthSettings(issuer_url="http://127.0.0.1", resource_server_url="http://127.0.0.1")
    server = FastMCP("guarded", auth=auth, token_verifier=Verifier())

    @server.tool()
    def echo(message: str) -> str:
        return message

    return server


def v1():
    from server_v1 import mcp

    return mcp


def v2():
    from server_v2 import mcp

    return mcp


server = {"v1": v1, "v2": v2, "guarded": guarded}[sys.argv[1]]()
application = server.streamable_http_app()
# The libraries write a line for each session and each refusal.
logging.disable(logging.CRITICAL)


async def held(_):
    # The manager's own table has no public name. What has ended stays in it for a while.
    sessions = server.session_manager._server_instances.values()
    gc.collect()
    alive = sum(not session.is_terminated for session in sessions)
    # In kilobytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return JSONResponse({"sessions": alive, "resident": resident(), "peak": peak})


application.router.routes.append(Route("/held", held))
serve(application)
