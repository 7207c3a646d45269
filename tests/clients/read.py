"""sseclient-py over requests, as the documents show it. Prints a line of JSON per thing seen."""

import json
import os

import requests
import sseclient

resp = requests.get(
    os.environ["HOLDFAST_URL"] + "/api/v1/events",
    headers={"X-Api-Key": os.environ["HOLDFAST_KEY"]},
    stream=True,
)
print(json.dumps({"open": resp.status_code == 200}), flush=True)

for event in sseclient.SSEClient(resp).events():
    if event.event == "message":
        seen = {"message": json.loads(event.data)}
    else:
        seen = {"type": event.event, "event": json.loads(event.data), "id": event.id}
    print(json.dumps(seen), flush=True)
