"""A Celery app with the monitoring SDK as its document shows it. The SDK's own setting, SLUICE_BASE_URL, says where it pushes to."""

import os

import sluice
from celery import Celery

app = Celery("tasks", broker=os.environ["BROKER_URL"], backend=os.environ["BROKER_URL"])
app.conf.broker_connection_retry_on_startup = True
sluice.init()


@app.task(name="shop.charge")
def charge(amount):
    return amount


@app.task(name="shop.fail")
def fail():
    raise ValueError("declined")


@app.task(name="shop.again", bind=True, max_retries=1)
def again(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0.1)
