-- caller: who calls, as a replica packs it: the same bytes for a credential each time, so they are read once and remembered.
--
-- gives  caller, meet, publish_message
-- What is remembered is a function of the bytes and says nothing of the tenant's state: `admit` proves the credential at each call.
-- The bytes, packed: is_session; version (false: nothing is proved, for the sweep); channel; publish command; how many events the history
-- keeps, and how many bytes; how events begin; held limit (0: none); rate per second (0: none); burst; when the credential ends in ms, or
-- false; tenant; credential (a field of meta); api key label or false; end user (the token's `sub`) or false; whether names need registration;
-- default and greatest time to live in ms (0: none); most tickets that wait (0: no limit).
local CALLERS_MOST = 4096 -- remembered at once; then all are forgotten, which costs each the reading of some 200 bytes
local known, count, present, met = {}, 0, nil, nil -- `present`: the bytes of the caller that was met last

local function read_caller(packed)
  local c = {}
  c.is_session, c.version, c.channel, c.publish, c.history_events, c.history_bytes, c.head, c.held_limit, c.rate, c.burst, c.ends_ms,
    c.tenant, c.credential, c.label, c.end_user, c.must_be_registered, c.default_ttl_ms, c.greatest_ttl_ms, c.waiting_limit = unpack_sequence(packed)
  c.unit_us = c.rate > 0 and 1000000 / c.rate -- what a call costs of the rate, or false: it is not limited
  c.burst_us = c.unit_us and c.burst * c.unit_us
  c.packed_label = pack(c.label)
  c.numbered = '\161N' .. sub(c.head, 3) -- what a message begins with that has a number
  return c
end

-- From here on `caller` is this one.
function meet(packed)
  if packed ~= present then
    local found = known[packed]
    if not found then
      if count >= CALLERS_MOST then
        known, count = {}, 0
      end
      found = read_caller(packed)
      known[packed], count = found, count + 1
    end
    met, present = found, packed
  end
  caller = met -- also behind a call that ended by an error while it acted for somebody else
end

-- Publishes what was done. A server that refuses it makes no error of a call that has written.
function publish_message(text)
  try(caller.publish, caller.channel, text)
end
