-- KEYS: 1 resource hash, 2 expiry zset, 3 event stream, 4 pub/sub channel
-- ARGV: 1 resource id, 2 holder, 3 token, 4 ttl ms, 5 max live reservations, 6 filler (pads the event to ~350 B)
-- returns expiry in ms (> 0), or 0 when held by someone else, or -1 when the limit is reached
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local cur = redis.call('HMGET', KEYS[1], 'token', 'exp')
if cur[1] and tonumber(cur[2]) > now and cur[1] ~= ARGV[3] then return 0 end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) then return -1 end
local exp = string.format('%d', now + ARGV[4])
redis.call('HSET', KEYS[1], 'holder', ARGV[2], 'token', ARGV[3], 'exp', exp)
redis.call('ZADD', KEYS[2], exp, ARGV[1])
local ev = '{"type":"reserved","resource":"' .. ARGV[1] .. '","holder":"' .. ARGV[2] .. '","token":"' .. ARGV[3]
  .. '","at":' .. string.format('%d', now) .. ',"expires":' .. exp .. ',"note":"' .. ARGV[6] .. '"}'
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'e', ev)
redis.call('PUBLISH', KEYS[4], ev)
return tonumber(exp)
