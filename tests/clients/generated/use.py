"""What a user of the generated client writes: reserves, waits, looks, gives back.

Checked by mypy, and run against a replica.
"""

import json
import os

from holdfast_client import AuthenticatedClient
from holdfast_client.api.reservations import active_reservations, check_many, reserve, unreserve
from holdfast_client.models import (
    CheckRequest,
    ErrorBody,
    ErrorCode,
    ReserveItem,
    ReserveResult,
    ReserveStatus,
    UnreserveItem,
)

# The document's paths are whole, or begin behind the address of its server.
base_url = (os.environ["HOLDFAST_URL"] + os.environ["HOLDFAST_SERVER"]).rstrip("/")
client = AuthenticatedClient(base_url=base_url, token=os.environ["HOLDFAST_KEY"], raise_on_unexpected_status=True)


def reserved(requester: str, wait_seconds: int | None = None) -> ReserveResult:
    item = ReserveItem(requester=requester, resource="deploy", ttl_seconds=60)
    if wait_seconds is not None:
        item.wait_seconds = wait_seconds
    answer = reserve.sync(client=client, body=[item], hold=0)
    assert isinstance(answer, list), answer
    return answer[0]


held = reserved("python-1")
assert held.status is ReserveStatus.ACQUIRED and isinstance(held.release_token, str), held
waiting = reserved("python-2", wait_seconds=60)
assert waiting.status is ReserveStatus.WAITING and waiting.place == 1, waiting
checked = check_many.sync(client=client, body=CheckRequest(resources=["deploy"]))
assert isinstance(checked, list) and checked[0].holder == "python-1", checked
listed = active_reservations.sync(client=client, limit=10)
assert listed is not None and not isinstance(listed, ErrorBody), listed
assert [row.resource for row in listed.reservations] == ["deploy"], listed
token = str(held.release_token)
mine = UnreserveItem(requester="python-1", resource="deploy", release_token="no token of ours")
refused = unreserve.sync(client=client, body=[mine])
assert isinstance(refused, ErrorBody) and refused.error.code is ErrorCode.INVALID_RELEASE_TOKEN, refused
mine.release_token = token
released = unreserve.sync(client=client, body=[mine])
assert isinstance(released, list) and released[0].released == ["deploy"], released
wrong = reserve.sync(client=client, body=[ReserveItem(requester="", resource="deploy")])
assert isinstance(wrong, ErrorBody) and wrong.error.details[0].path == "[0].requester", wrong
print(json.dumps({"fence": held.fencing_token, "handedOver": reserved("python-2").status.value}))
