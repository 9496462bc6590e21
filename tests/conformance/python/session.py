"""One session, played step by step: the counterpart of js/session.mjs, with the same steps and the same words."""

import asyncio
import json
import os
import re
import sys

PATIENCE_S = float(os.environ.get("PATIENCE_MS", "10000")) / 1000
SAMPLED = "sampled by the client"
ELICITED = "elicited from the user"
HEADERS = json.loads(os.environ.get("HEADERS", "{}"))
TOOLS = {
    "echo",
    "trigger-long-running-operation",
    "trigger-sampling-request",
    "trigger-elicitation-request",
    "toggle-simulated-logging",
}


def short(text):
    return re.sub(r"\s+", " ", str(text)).strip()[:200]


def causes(error):
    """An error as people read it: the members of a group, not the group."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(causes(member) for member in error.exceptions)
    return str(error) or type(error).__name__


async def step(outcome, name, action):
    try:
        async with asyncio.timeout(PATIENCE_S) as bound:
            outcome[name] = {"ok": True, "detail": short(await action)}
    except Exception as error:
        late = f"HANGS: {name}: nothing in {PATIENCE_S:g} s"
        outcome[name] = {"ok": False, "detail": late if bound.expired() else short(causes(error))}


def text_of(result):
    return " ".join(getattr(part, "text", "") for part in result.content)


def expect_text(text, part):
    if part not in text:
        raise ValueError(f'no "{part}" in: {text}')
    return part


async def all_tools(client):
    deadline = asyncio.get_running_loop().time() + PATIENCE_S / 2
    while missing := TOOLS - {tool.name for tool in (await client.list_tools()).tools}:
        if asyncio.get_running_loop().time() > deadline:
            raise ValueError(f"without {missing}")
    return f"all {len(TOOLS)}"


async def call(client, tool, arguments, **options):
    return text_of(await client.call_tool(tool, arguments, **options))


async def progress(client):
    seen = 0

    async def count(*_):
        nonlocal seen
        seen += 1

    arguments = {"duration": 0.4, "steps": 4}
    text = await call(client, "trigger-long-running-operation", arguments, progress_callback=count)
    expect_text(text, "completed")
    # As in js/session.mjs: the last one may come after the result.
    if seen < 3:
        raise ValueError(f"{seen} of 4 notifications")
    return "came"


async def notification(client, log):
    await call(client, "toggle-simulated-logging", {})
    await log.wait()
    return "came"


async def expect_call(client, tool, arguments, part):
    return expect_text(await call(client, tool, arguments), part)


async def whole(outcome, client, log):
    await step(outcome, "list", all_tools(client))
    await step(outcome, "echo", expect_call(client, "echo", {"message": "hello"}, "hello"))
    await step(outcome, "progress", progress(client))
    sampling = expect_call(client, "trigger-sampling-request", {"prompt": "p", "maxTokens": 10}, SAMPLED)
    await step(outcome, "sampling", sampling)
    await step(outcome, "elicitation", expect_call(client, "trigger-elicitation-request", {}, ELICITED))
    await step(outcome, "notification", notification(client, log))


async def listed(client):
    return "true" if (await client.list_tools()).tools else "false"


async def refused(outcome, client):
    await step(outcome, "list", listed(client))
    await step(outcome, "call", expect_call(client, "echo", {"message": "one"}, "one"))
    await step(outcome, "again", expect_call(client, "echo", {"message": "two"}, "two"))


async def restarted():
    """A file in the folder $RESTART asks for another server in the place of this one, and a file there tells that it is
    up."""
    folder = os.environ["RESTART"]
    open(f"{folder}/wanted", "x").close()
    while not os.path.exists(f"{folder}/done"):
        await asyncio.sleep(0.02)
    return "another server"


async def lost(outcome, client, reconnect):
    """The server is replaced, and has lost the session. `again` is what the library does about it by itself. Then the
    host of the client does what the specification asks for: it begins anew where the library says that the session is
    gone."""
    await step(outcome, "call", expect_call(client, "echo", {"message": "one"}, "one"))
    await step(outcome, "restart", restarted())
    await step(outcome, "again", expect_call(client, "echo", {"message": "two"}, "two"))

    async def served():
        is_lost = not outcome["again"]["ok"] and outcome["again"]["detail"] == "Session terminated"
        now = await reconnect() if is_lost else client
        return await expect_call(now, "echo", {"message": "three"}, "three")

    await step(outcome, "served", served())


async def play(connect):
    """`connect(log)` is an async context manager that yields a client and the server's name; `log` is an event to set
    when a notification comes."""
    outcome, log = {}, asyncio.Event()
    connection = connect(log)
    client = None

    async def enter():
        nonlocal client
        client, name = await connection.__aenter__()
        return name

    async def reconnect():
        nonlocal client, connection
        await leave()
        connection = connect(log)
        await enter()
        return client

    async def leave():
        await connection.__aexit__(None, None, None)

    await step(outcome, "connect", enter())
    if client is not None:
        if os.environ.get("PLAY") == "refused":
            await refused(outcome, client)
        elif os.environ.get("PLAY") == "lost":
            await lost(outcome, client, reconnect)
        else:
            await whole(outcome, client, log)
        await step(outcome, "close", leave())
    return outcome


def run(connect):
    """Plays the session and prints what came of it, also when the client library takes its own tasks down with it."""
    outcome = asyncio.run(play(connect))
    print(json.dumps(outcome))
    sys.stdout.flush()
    os._exit(0)
