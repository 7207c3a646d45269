-- replay: what was published after a position, a page of it, for those who were away.
--
-- function  replay
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state
--   2 history      list    the kept events
-- args
--   1 caller       see core/caller.lua; its version is false where a replica reads for its subscribers
--   2 call         packed: cost, floor, the position after which the page begins, most entries of the page
-- returns       OK, now_us, position, position of the last kept event, then packed entries: each one or several events, of which the first ones may
--               stand before that position
-- cost          O(limit + log entries * distance from the end)
-- invariants    nothing older than an hour is answered. Whether the page begins right after the position, its first event says: it names the
--               position before it
local PAGE_BYTES = 256 * 1024
local AT_ONCE = 16

-- The entries that hold what came after a position: at most `limit`, and no more once they have so many bytes.
local function entries_after(from, limit)
  local length = call('LLEN', HISTORY)
  local function starts_after(index)
    return previous_of(call('LINDEX', HISTORY, digits(index))) > from
  end
  -- Most ask for the end: so the search goes back in doubling steps, then by halves. The entry at `low` does not begin after `from`, that at
  -- `high` does.
  local low, high, step = length - 1, length, 1
  while low >= 0 and starts_after(low) do
    low, high, step = low - step, low, step * 2
  end
  low = max(low, -1)
  while high - low > 1 do
    local middle = floor((low + high) / 2)
    if starts_after(middle) then
      high = middle
    else
      low = middle
    end
  end
  local found, size = {}, 0
  for first = max(low, 0), length - 1, AT_ONCE do
    local entries = call('LRANGE', HISTORY, digits(first), digits(first + AT_ONCE - 1))
    for n = 1, #entries do
      if #found >= limit or size > PAGE_BYTES then
        return found
      end
      found[#found + 1], size = entries[n], size + #entries[n]
    end
  end
  return found
end

function replay(keys, args)
  local _, cost, floor_at, from, limit = unpack_limit(args[2], 4, 0)
  local refusal = open(keys[1], floor_at) or admit(args[1], cost)
  if refusal then
    return refusal
  end
  HISTORY = keys[2]
  local found = {}
  if from < last then
    found = entries_after(max(from, now_us - KEPT_US), limit)
  end
  return close_call('OK', last) .. pack_list(found)
end
