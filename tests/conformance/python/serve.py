"""Serves an ASGI application on a loopback port, and writes that port into the file $READY.

It is the one in $LISTEN_PORT, for a server that comes back where it was, or else one that the system chooses.
"""

import asyncio
import os
import socket

import uvicorn


def serve(application):
    listener = socket.create_server(("127.0.0.1", int(os.environ.get("LISTEN_PORT", "0"))), backlog=1024)
    ready = os.environ["READY"]
    with open(f"{ready}.part", "w", encoding="ascii") as file:
        file.write(str(listener.getsockname()[1]))
    os.rename(f"{ready}.part", ready)
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="on"))
    asyncio.run(server.serve(sockets=[listener]))
