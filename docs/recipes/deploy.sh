#!/bin/sh
# One deploy at a time. The script runs itself again under the lock, so that nobody can start it without.
set -eu
if [ "${HOLDFAST_RESOURCE:-}" != deploy ]; then
    exec holdfast run deploy --note "version $1" --wait 30m -- "$0" "$@"
fi

./upload "$1"
./switch "$1"
