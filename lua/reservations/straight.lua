-- straight: one name that stands alone, asked for by itself, and rightly: most of what is asked of a server that is not busy.
--
-- gives  take_straight, release_straight
-- The same decisions as `take` and `release`, without what only several things or registered ones need, which is a fifth of such a call. Whatever is
-- not so plain is answered false, with nothing done, and goes the common way; with what was read of `held`.
local RESERVED, UNRESERVED = '\168RESERVED\168ACQUIRED\194\167RESERVE', '\170UNRESERVED\172RELINQUISHED\194\169UNRESERVE'

-- Whether something has to be done before: then nothing is straight.
local function is_busy()
  return due and due <= now_ms or unsettled > 0 or ticket_count > 0
end

local function close(event, text)
  append(event, 1)
  last = position
  save()
  publish_message(event)
  return put('>BI8c3BI8BI8', UINT64, backlog, '\162OK', UINT64, now_us, UINT64, position) .. text
end

function take_straight(name, token, tail, ttl_ms)
  if is_busy() or caller.must_be_registered or caller.greatest_ttl_ms > 0 or caller.held_limit > 0 and held_count >= caller.held_limit then
    return false
  end
  if DEFINITIONS then
    local record, _, _, node = resolve(name)
    if record or node then
      return false
    end
  end
  local lasts_ms = ttl_ms > 0 and ttl_ms or caller.default_ttl_ms
  local deadline_ms = lasts_ms > 0 and ceil(now_us / 1000) + lasts_ms
  local at = position < now_us and now_us or position + 1
  local stamp
  if deadline_ms then
    stamp = put('>BI8BI8BI8', UINT64, at, UINT64, deadline_ms, UINT64, now_ms)
  else
    stamp = put('>BI8c1BI8', UINT64, at, FALSE, UINT64, now_ms)
  end
  if call('HSETNX', HELD, name, stamp .. TEXT_16 .. token .. tail) == 0 then
    return false
  end
  if deadline_ms then
    call('ZADD', DEADLINES, digits(deadline_ms), name)
    if not due or deadline_ms < due then
      due = deadline_ms
      call('ZADD', DUE, digits(due), caller.tenant)
    end
  end
  position, held_count = at, held_count + 1
  local previous = put('>BI8', UINT64, last)
  return close(caller.head .. previous .. stamp .. TRUE .. RESERVED .. caller.packed_label .. tail .. FALSE .. text_head(name) .. name, stamp)
end

function release_straight(name, token, who)
  if is_busy() then
    return false
  end
  local packed = call('HGET', HELD, name)
  local stamp = packed and byte(packed, -1) == 0 and (byte(packed, 10) == UINT64 and 27 or 19)
  if not stamp or find(packed, TEXT_16 .. token .. who, stamp + 1, true) ~= stamp + 1 then
    return false, packed
  end
  call('HDEL', HELD, name)
  if stamp == 27 then
    call('ZREM', DEADLINES, name)
  end
  position, held_count = position < now_us and now_us or position + 1, held_count - 1
  if due and held_count == 0 then
    due = false
    call('ZREM', DUE, caller.tenant)
  end
  local term_now = put('>c1BI8BI8', FALSE, UINT64, now_ms, UINT64, position)
  return close(caller.head .. put('>BI8', UINT64, last) .. sub(packed, 1, 9) .. term_now .. UNRESERVED .. caller.packed_label
    .. sub(packed, stamp + 18) .. FALSE .. text_head(name) .. name, TRUE)
end
