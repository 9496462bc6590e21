"""A server on the Python SDK 1.x: `server.py plain|mounted|without-get`. /held tells how many sessions it holds.

`mounted`: an application at /mcp of another one, as many projects have it; /mcp is answered 307 to /mcp/.
`without-get`: there is no route for GET, which is answered 404.
"""

import contextlib
import sys

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from serve import serve
from server_v1 import mcp


async def held(_):
    # The manager's own table has no public name. 1.29.0 leaves what was ended there.
    sessions = mcp.session_manager._server_instances.values()
    return PlainTextResponse(str(sum(not session.is_terminated for session in sessions)))


@contextlib.asynccontextmanager
async def running(_):
    async with mcp.session_manager.run():
        yield


def mounted():
    mcp.settings.streamable_http_path = "/"
    routes = [Route("/held", held), Mount("/mcp", mcp.streamable_http_app())]
    return Starlette(routes=routes, lifespan=running)


def plain():
    application = mcp.streamable_http_app()
    application.router.routes.append(Route("/held", held))
    return application


def without_get():
    application = plain()

    async def answer(scope, receive, send):
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] == "/mcp":
            await PlainTextResponse("Not Found", status_code=404)(scope, receive, send)
        else:
            await application(scope, receive, send)

    return answer


serve({"plain": plain, "mounted": mounted, "without-get": without_get}[sys.argv[1]]())
