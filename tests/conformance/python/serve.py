"""Serves an ASGI application on a loopback port that the system chooses, and writes that port into the file $READY."""

import asyncio
import os
import socket

import uvicorn


def serve(application):
    listener = socket.create_server(("127.0.0.1", 0))
    ready = os.environ["READY"]
    with open(f"{ready}.part", "w", encoding="ascii") as file:
        file.write(str(listener.getsockname()[1]))
    os.rename(f"{ready}.part", ready)
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="on"))
    asyncio.run(server.serve(sockets=[listener]))
