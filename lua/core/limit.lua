-- limit: how a call is answered that would pass a limit of the tenant's tier.
--
-- gives  publish_limit, over_limit
local QUIET_MS = 1000

-- Publishes that a limit was reached, at most once a second per limit.
function publish_limit(kind, limit)
  local field = 'reached:' .. kind
  local before_ms = tonumber(call('HGET', META, field)) or 0
  if before_ms <= now_ms and now_ms < before_ms + QUIET_MS then
    return
  end
  call('HSET', META, field, digits(now_ms))
  publish_message(events.numbered(pack('L', caller.tenant, now_ms, caller.label, kind, limit)))
end

-- Ends a call that is refused by a limit; `ends_ms` is when the first of what is in use ends, or false.
function over_limit(kind, limit, used, ends_ms)
  publish_limit(kind, limit)
  return close_call('LIMIT', kind, limit, used, ends_ms)
end
