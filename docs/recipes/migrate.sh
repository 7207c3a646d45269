#!/bin/sh
# An init container of every pod. One pod migrates; the others wait for it and find nothing left to do.
set -eu
exec holdfast run "migrate app" --ttl 60s --wait 10m -- sh -c './is-migrated || ./migrate'
