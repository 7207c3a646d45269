#!lua flags=no-writes
-- watch_look: when a tenant's connections may be taken to be watched.
--
-- keys
--   1 connections hash  connection id -> packed connection
--   2 watches   hash    connection id -> packed watch
-- args
--   1.. connection id
-- returns       OK, now_us, 0, then per connection: in how many ms its lease ends, 0 when it has none, -2 when its watcher did not keep it,
--               -1 when there is no such connection
-- cost          O(connections asked for)
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now_us / 1000)
local out = { 'OK', now_us, 0 }
for _, id in ipairs(ARGV) do
  local left = -1
  if redis.call('HEXISTS', KEYS[1], id) == 1 then
    local watch = redis.call('HGET', KEYS[2], id)
    left = 0
    if watch then
      local _, until_ms, _, given_back = cmsgpack.unpack(watch)
      left = given_back and 0 or until_ms > now_ms and until_ms - now_ms or -2
    end
  end
  out[#out + 1] = left
end
return cmsgpack.pack(out)
