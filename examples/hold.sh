#!/bin/sh
# Runs a command while a resource is held: hold.sh RESOURCE COMMAND [ARGUMENT...]
#
# Waits in line for the resource, renews it three times per TTL while the command runs, and releases it afterwards. If the
# reservation is lost (somebody released it by force, or no renewal got through for a whole TTL), the command is stopped
# with SIGTERM.
#
#   HOLDFAST_URL    address of the service, like http://127.0.0.1:8080
#   HOLDFAST_KEY    an API key with the scope `write`
#   HOLD_SECONDS    TTL of the reservation, at least 3; 60
#   HOLD_WAIT       how many seconds to wait for it, 0 for not at all; 300
#
# Exits with the command's code; 75 if somebody else holds the resource all the time; 69 if the service cannot be reached
# or refuses.
set -u

if [ $# -lt 2 ]; then
    echo "usage: hold.sh RESOURCE COMMAND [ARGUMENT...]" >&2
    exit 64
fi
resource=$1
shift
ttl=${HOLD_SECONDS:-60}
deadline=$(($(date +%s) + ${HOLD_WAIT:-300}))
# Unique per holder: with the same name a second one would be given the first one's reservation.
requester="$(uname -n)-$$"
busy=75 unavailable=69

case $resource in
*[\"\\]*) echo "hold.sh: this example puts the name into JSON as it is, so it may have no quotes or backslashes" >&2; exit 64 ;;
esac

# Sends one item to /api/v1/Reservation/<verb>; prints the answer, which is an array with one result. The answer may be held
# back for some seconds, the third argument.
call() {
    curl --silent --show-error --max-time $((5 + ${3:-0})) "$HOLDFAST_URL/api/v1/Reservation/$1" \
        -H "X-Api-Key: $HOLDFAST_KEY" -H 'Content-Type: application/json' --data "[$2]"
}

# A text member of a JSON answer. jq would do it for every JSON; this is enough for one flat object.
member() { echo "$2" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

# Each call is held back until it is our turn, or for half a minute. The same call again keeps the place, at any replica; who
# asks no more has lost it after `keepAliveSeconds`.
item="\"requester\":\"$requester\",\"resource\":\"$resource\",\"ttlSeconds\":$ttl"
while :; do
    left=$((deadline - $(date +%s)))
    if [ $left -gt 0 ]; then
        hold=$((left < 30 ? left : 30))
        answer=$(call "reserve?hold=$hold" "{$item,\"waitSeconds\":$left,\"keepAliveSeconds\":15}" $hold)
    else
        answer=$(call reserve "{$item}")
    fi
    case $(member status "$answer") in
    # The second where an earlier answer was lost on the way: nobody else has our name.
    ACQUIRED | ALREADY_HAD) break ;;
    WAITING)
        place=$(echo "$answer" | sed -n 's/.*"place":\([0-9]*\).*/\1/p')
        echo "hold.sh: waiting for $resource, held by $(member holder "$answer"), place $place" >&2
        ;;
    ALREADY_HELD | NOT_AVAILABLE)
        echo "hold.sh: $resource is held by $(member holder "$answer")" >&2
        exit $busy
        ;;
    *)
        echo "hold.sh: $answer" >&2
        [ $left -gt 0 ] && [ -z "$answer" ] || exit $unavailable
        sleep 1 # not reached: its place is kept meanwhile
        ;;
    esac
done
token=$(member releaseToken "$answer")
claim="\"requester\":\"$requester\",\"resource\":\"$resource\",\"releaseToken\":\"$token\""

"$@" &
command=$!

renew() {
    renewed=$(date +%s)
    while sleep $((ttl / 3)); do
        answer=$(call renew "{$claim,\"ttlSeconds\":$ttl}" 2>&1)
        case $answer in
        *'"status":"RENEWED"'*)
            renewed=$(date +%s)
            continue
            ;;
        # It is ours no more, for certain.
        *'"status":"NOT_RESERVED"'* | *'"status":"DOESNT_OWN_RESERVATION"'* | *INVALID_RELEASE_TOKEN*) ;;
        # Anything else may pass: try again while the last renewal lasts.
        *) [ $(($(date +%s) - renewed)) -lt "$ttl" ] && continue ;;
        esac
        echo "hold.sh: lost $resource: $answer" >&2
        kill -TERM $command
        return
    done
}
renew &
renewing=$!

finish() {
    kill $renewing 2>/dev/null
    call unreserve "{$claim}" >/dev/null
}
# Ctrl-C and SIGTERM stop the command first; only then is the resource free for others.
trap 'kill -TERM $command 2>/dev/null' INT TERM
wait $command
code=$?
# `wait` also returns when a signal arrives; the command may still be ending.
while kill -0 $command 2>/dev/null; do
    wait $command
    code=$?
done
finish
exit $code
