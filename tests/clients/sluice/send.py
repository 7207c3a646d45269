"""Sends one task of each kind, and says their ids when they have ended."""

import json

from tasks import again, charge, fail

sent = {"charge": charge.delay(5), "fail": fail.delay(), "again": again.delay()}
for result in sent.values():
    result.get(timeout=60, propagate=False)
print(json.dumps({name: result.id for name, result in sent.items()}))
