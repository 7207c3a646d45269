-- queue_rows: what was observed of queues, joined with what is known of them.
--
-- gives  queue_rows
-- A queue is an array; README says of each place what it holds. Nothing is written before `write`.
local NAME, DEPTH, CONSUMERS, CONSUMERS_SOURCE, SAID_US, SEEN_MS = 3, 4, 5, 6, 7, 9
local PUSHED = 3 -- how consumers are known: a client said their number
local QUEUES_MOST = 5000
local SEEN_AGAIN_MS = 60000 -- how exactly it is kept when a queue was seen last
local source, rows, names
queue_rows = {}

function queue_rows.begin(from)
  source, rows, names = from, {}, {}
end

-- What is known of a queue; it is new where nothing is.
function queue_rows.look(name)
  local row = source.connection .. name
  if rows[row] == nil then
    local packed = call('HGET', key.queues, row)
    names[#names + 1] = row
    rows[row] = packed and unpack_sequence(packed) or { source.connection, source.framework, name, false, false, false, 0, now_ms, 0 }
    spent = spent + 3
  end
  return rows[row]
end

-- Joins an observation of a queue. Answers whether it was known: a later one was there.
function queue_rows.observe(seen)
  local queue, us = queue_rows.look(seen[3]), time_us(seen[4])
  if us <= queue[SAID_US] then
    return true
  end
  local depth, consumers = queue[DEPTH], queue[CONSUMERS]
  queue[SAID_US] = us
  if seen[5] ~= false then
    queue[DEPTH] = whole(seen[5])
  end
  if seen[6] ~= false then
    queue[CONSUMERS], queue[CONSUMERS_SOURCE] = whole(seen[6]), seen[7]
  elseif seen[7] ~= false and queue[CONSUMERS_SOURCE] ~= PUSHED then
    queue[CONSUMERS], queue[CONSUMERS_SOURCE] = false, false
  end
  if queue[DEPTH] ~= depth or queue[CONSUMERS] ~= consumers then
    monitor.note({ 'q', queue[NAME], queue[DEPTH], queue[CONSUMERS] })
  end
  return false
end

-- Writes what was observed; beyond the most, new queues are left out.
function queue_rows.write()
  local writes, seen = {}, {}
  local room = #names > 0 and QUEUES_MOST - call('HLEN', key.queues) or 0
  for n = 1, #names do
    local row = names[n]
    local queue = rows[row]
    local is_new = queue[SEEN_MS] == 0
    if not is_new or room > 0 then
      room = room - (is_new and 1 or 0)
      if now_ms - queue[SEEN_MS] > SEEN_AGAIN_MS then
        queue[SEEN_MS] = now_ms
        seen[#seen + 1], seen[#seen + 2] = digits(now_ms), row
        monitor.look_by(now_ms + retention.QUEUE_KEPT_MS)
      end
      writes[#writes + 1], writes[#writes + 2] = row, pack(queue)
    end
  end
  monitor.run('HSET', key.queues, writes, 2)
  monitor.run('ZADD', key.queues_seen, seen, 2)
end
