"""What a profile-guided build learns from: the calls that replicas are busy with, each for a while, against a binary that counts them.

PYTHONPATH=bench python3 -m speed.training BINARY
The binary writes its counts when it is told to end.
"""

import sys
from pathlib import Path

from .kinds import POOL, with_pool, with_tenants
from .limits import BATCH, CLIENTS
from .rounds import pairs
from .servers import Servers

WINDOW_S = 3
READERS = 8


def train(servers: Servers) -> None:
    plain, pool, tenants = servers.setup(), with_pool(servers), with_tenants(servers)
    window, many = ("--window-s", WINDOW_S), ("--window-s", WINDOW_S, "--clients", CLIENTS)
    pairs(plain, *many)
    pairs(plain, *window, "--clients", 1)
    pairs(plain, *window, "--clients", 8, "--batch", BATCH)
    with servers.streams(plain.replica, plain.key, READERS):
        pairs(plain, *many)
    pairs(pool, *many, "--pool", POOL)
    pairs(tenants, *many)


if __name__ == "__main__":
    with Servers(Path(sys.argv[1]).resolve()) as running:
        train(running)
