"""A small real Celery application for the queue monitor to watch. BROKER and OPTIONS (JSON: transport options) say where.

CONFIGURATION (JSON) has further settings of Celery.
"""

import json
import os
import time

from celery import Celery
from celery.exceptions import Reject

app = Celery("shop", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
options = json.loads(os.environ.get("OPTIONS", "{}"))
prefix = options.get("global_keyprefix")
app.conf.update(
    task_send_sent_event=True,
    worker_send_task_events=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_transport_options=options,
    result_backend_transport_options={"global_keyprefix": prefix} if prefix else {},
    broker_connection_retry_on_startup=True,
    **json.loads(os.environ.get("CONFIGURATION", "{}")),
)


@app.task
def add(a, b):
    return a + b


@app.task
def fail():
    raise ValueError("no such product")


@app.task(bind=True, max_retries=2)
def flaky(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0.2, exc=OSError("try again"))
    return "in the end"


@app.task(bind=True)
def reject(self):
    raise Reject("not mine", requeue=False)


@app.task
def slow(seconds):
    time.sleep(seconds)
    return seconds
