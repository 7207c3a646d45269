"""Two agents at two replicas share a file, by the official SDK of the Model Context Protocol.

Prints what they see, a JSON object a line.
"""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

URLS = os.environ["HOLDFAST_URLS"].split(",")
KEY = os.environ["HOLDFAST_KEY"]
MODE = sys.argv[1]
FILE = "src/main.rs"


def show(step: str, seen: object) -> None:
    print(json.dumps({"step": step, "seen": seen}), flush=True)


@asynccontextmanager
async def agent(url: str, headers: dict[str, str]):
    async with create_mcp_http_client(headers=headers) as http:
        async with Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=MODE) as client:
            yield client


async def call(client: Client, tool: str, **arguments: object) -> dict:
    result = await client.call_tool(tool, arguments)
    text = json.loads(result.content[0].text)
    assert result.is_error or text == result.structured_content, result
    return {"isError": result.is_error, **text}


def wish(requester: str, **more: object) -> list[dict]:
    return [{"requester": requester, "resource": FILE, "ttlSeconds": 60, **more}]


async def main() -> None:
    async with agent(URLS[0], {"X-Api-Key": KEY}) as north, agent(URLS[1], {"Authorization": f"Bearer {KEY}"}) as south:
        show("connected", [north.protocol_version, north.server_info.name, north.instructions])
        for client in (north, south):
            listed = await client.list_tools()
            show("tools", [tool.model_dump(by_alias=True, exclude_none=True) for tool in listed.tools])

        held = (await call(north, "reserve", requests=wish("north")))["results"][0]
        show("held", held)
        waiting = (await call(south, "reserve", requests=wish("south", waitSeconds=120), hold=1))["results"][0]
        show("waiting", waiting)
        show("line", await call(north, "waiting", resource=FILE))
        handed_over = asyncio.create_task(call(south, "reserve", requests=wish("south", waitSeconds=120), hold=60))
        show("renewed", await call(north, "renew", requests=[claim("north", held, ttlSeconds=90)]))
        show("released", await call(north, "release", requests=[claim("north", held)]))
        got = (await handed_over)["results"][0]
        show("handed over", got)
        show("checked", await call(north, "check", resources=[FILE, "free"]))
        show("listed", await call(north, "list", prefix="src/"))
        show("wrong", await call(north, "reserve", requests=[{"requester": "north", "resorce": FILE}]))
        show("not mine", await call(north, "release", requests=[claim("south", {"releaseToken": "x"})]))
        show("given back", await call(south, "release", requests=[claim("south", got)]))

    try:
        async with agent(URLS[0], {"X-Api-Key": "hf_live_" + "x" * 43}) as stranger:
            await stranger.list_tools()
            show("stranger", "was let in")
    except BaseException as error:
        show("stranger", repr(error))


def claim(requester: str, reservation: dict, **more: object) -> dict:
    return {"requester": requester, "resource": FILE, "releaseToken": reservation["releaseToken"], **more}


asyncio.run(main())
