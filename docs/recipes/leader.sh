#!/bin/sh
# Leader election without a supervisor: who has the name leads, the others wait; who loses it is ended and waits again.
while :; do
    holdfast run leader --ttl 15s -- ./lead
    sleep 1
done
