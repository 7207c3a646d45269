-- job_list: a piece of the jobs, the last made first, without long texts.
--
-- function  job_list
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 jobs         hash    job -> packed job
--   3 jobs_created zset    job -> when it was made, ms
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3 made         when the job was made after which the piece begins, ms, or empty: at the beginning
--   4 job          which job that was, its 16 bytes, or empty
--   5 count        how many at most
-- returns       OK, now_us, position, how many jobs there are, then per job its id, when it was made and the packed job or false
--               | MORE, now_us, position, the same: fewer than were asked for, and more follow behind the last | STALE, RATE as reserve
-- cost          O(count + log jobs * log jobs made in that millisecond), bounded
local AT_ONCE = 50
local PIECE_BYTES = 256 * 1024

-- The rank behind a job, from the last made on; the job itself may be gone.
local function rank_behind(created, made, job)
  local low = call('ZCOUNT', created, '(' .. made, '+inf')
  local high = low + call('ZCOUNT', created, made, made)
  while low < high do
    local middle = floor((low + high) / 2)
    -- Among those of the same millisecond ids go down, too.
    if call('ZREVRANGE', created, digits(middle), digits(middle))[1] < job then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

function job_list(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local rows, created, made, count = keys[2], keys[3], args[3], tonumber(args[5])
  local first = made == '' and 0 or rank_behind(created, made, args[4])
  local total, items, size = call('ZCARD', created), {}, 0
  local final = min(first + count, total) -- behind the last
  while first < final and size < PIECE_BYTES and spent < budget.piece_steps do
    local found = call('ZREVRANGE', created, digits(first), digits(min(first + AT_ONCE, final) - 1), 'WITHSCORES')
    local ids = {}
    for n = 1, #found, 2 do
      ids[#ids + 1] = found[n]
    end
    local texts = call('HMGET', rows, unpack(ids))
    for n = 1, #ids do
      items[#items + 1] = pack(ids[n], tonumber(found[2 * n]), texts[n])
      size = size + #items[#items]
    end
    first, spent = first + #ids, spent + 2 + 2 * #ids
  end

  return close_call(first >= final and 'OK' or 'MORE', total) .. concat(items)
end
