"""Sends tasks of every fate, waits until Celery has done with them, and prints what Celery itself says of each."""

import json
import sys
import time
import uuid

from shop import add, app, fail, flaky, reject, slow

fates = set(sys.argv[2].split(","))
queue = sys.argv[1]
sent = {}


def send(fate, task, *args, **options):
    sent[fate] = task.apply_async(args, queue=queue, **options).id


def consumer():
    """Asks the worker of the queue. It is online before it hears broadcasts, which are lost to it until then: so it has answered one here."""
    while True:
        for worker, queues in (app.control.inspect(timeout=0.5).active_queues() or {}).items():
            if any(consumed["name"] == queue for consumed in queues):
                return app.control.inspect(destination=[worker], timeout=5, limit=1)


if "add" in fates:
    for priority in (0, 3, 5, 9):
        send(f"add {priority}", add, priority, 1, priority=priority)
if "fail" in fates:
    send("fail", fail)
if "flaky" in fates:
    send("flaky", flaky)
if "reject" in fates:
    send("reject", reject)
if "expire" in fates:
    send("expire", add, 1, 1, expires=0.001)
if "eta" in fates:
    send("eta", add, 2, 2, countdown=5)
if "revoke" in fates or "terminate" in fates:
    asked = consumer()
if "revoke" in fates:
    sent["revoke"] = str(uuid.uuid4())
    # A broadcast takes its way: only a worker that has heard it revokes what comes.
    while not any(sent["revoke"] in ids for ids in (asked.revoked() or {}).values()):
        app.control.revoke(sent["revoke"])
        time.sleep(0.05)
    add.apply_async((1, 1), queue=queue, task_id=sent["revoke"])
if "terminate" in fates:
    send("terminate", slow, 60)
    while not any(sent["terminate"] == task["id"] for tasks in (asked.active() or {}).values() for task in tasks):
        time.sleep(0.05)
    app.control.revoke(sent["terminate"], terminate=True)

deadline = time.time() + 80
ended = {}
while len(ended) < len(sent) and time.time() < deadline:
    for fate, task in sent.items():
        state = app.AsyncResult(task).state
        # Celery keeps no result of what was rejected.
        if state in ("SUCCESS", "FAILURE", "REVOKED") or fate == "reject":
            ended[fate] = state
    time.sleep(0.05)
print(json.dumps({fate: {"id": task, "state": ended.get(fate)} for fate, task in sent.items()}), flush=True)
