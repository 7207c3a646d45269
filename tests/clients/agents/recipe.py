"""Uses the recipe for agents as it stands: connects by each client's configuration, and makes the calls.

Prints what it saw, a JSON object a line.
"""

import asyncio
import json
import os
import re
import sys
import tomllib
from contextlib import asynccontextmanager
from pathlib import Path

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

# What a client of each kind puts in the place of a name.
VARIABLE = re.compile(r"\$\{(?:env:)?(HOLDFAST_\w+)\}|\$(HOLDFAST_\w+)")
PROMPT = "${input:holdfast-key}"
# The address that a configuration has which knows no variables.
EXAMPLE = "http://127.0.0.1:8080"


def show(step: str, seen: object) -> None:
    print(json.dumps({"step": step, "seen": seen}), flush=True)


def expanded(text: str) -> str:
    text = text.replace(PROMPT, os.environ["HOLDFAST_KEY"]).replace(EXAMPLE, os.environ["HOLDFAST_URL"])
    return VARIABLE.sub(lambda found: os.environ[found[1] or found[2]], text)


def configurations(recipe: str) -> list[tuple[str, str, dict[str, str]]]:
    """Name, address and headers of every client that the recipe configures."""
    found = []
    block = r"^([A-Z][\w ]+), `[^`]+`[^\n]*:\n\n```(json|toml)\n(.*?)^```"
    for name, kind, text in re.findall(block, recipe, re.M | re.S):
        document = json.loads(text) if kind == "json" else tomllib.loads(text)
        servers = document.get("mcpServers") or document.get("servers") or document.get("mcp_servers")
        server = servers["holdfast"]
        headers = {header: expanded(value) for header, value in server.get("headers", {}).items()}
        if variable := server.get("bearer_token_env_var"):
            headers["Authorization"] = f"Bearer {os.environ[variable]}"
        found.append((name, expanded(server.get("url") or server["httpUrl"]), headers))
    return found


@asynccontextmanager
async def agent(url: str, headers: dict[str, str]):
    async with create_mcp_http_client(headers=headers) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            yield client


async def main(recipe: str) -> None:
    known = configurations(recipe)
    for name, url, headers in sorted(known):
        async with agent(url, headers) as client:
            show("client", {"name": name, "tools": [tool.name for tool in (await client.list_tools()).tools]})

    tokens: dict[tuple[str, str], str] = {}
    async with agent(*known[0][1:]) as client:
        for tool, text, written in re.findall(r"^    (\w+) (\{.*\})\n    -> (.+)$", recipe, re.M):
            arguments = json.loads(text)
            for item in arguments.get("requests", []):
                if "releaseToken" in item:
                    item["releaseToken"] = tokens[item["requester"], item["resource"]]
            result = await client.call_tool(tool, arguments)
            results = (result.structured_content or {}).get("results", [])
            for one in results:
                if one.get("releaseToken"):
                    tokens[one["requester"], one["resource"]] = one["releaseToken"]
            seen = " ".join(one.get("status") or one["holder"] for one in results)
            show("call", {"tool": tool, "seen": seen, "written": written, "text": result.content[0].text})


asyncio.run(main(Path(sys.argv[1]).read_text()))
