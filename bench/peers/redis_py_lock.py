"""redis-py's Lock: PORT PROCESS CLIENTS WARM_S WINDOW_S. Each client locks a name of its own at random and unlocks it. Prints one line of JSON."""

import asyncio
import random
import sys

from redis.asyncio import Redis

from took import Took

TTL_S = 30
NAMES = 100_000


async def client(took: Took, port: int, name: str, names: int) -> None:
    redis = Redis(port=port)
    while not took.over():
        with took.pair():
            lock = redis.lock(f"{name}:{random.randrange(names)}", timeout=TTL_S, blocking=False)
            if not await lock.acquire():
                raise RuntimeError("a name of one's own was taken")
            await lock.release()
    await redis.aclose()


async def main() -> None:
    port, number, clients = map(int, sys.argv[1:4])
    took = Took(*map(float, sys.argv[4:6]))
    await asyncio.gather(*(client(took, port, f"pylock:{number}:{which}", NAMES // clients) for which in range(clients)))
    print(took.summary())


asyncio.run(main())
