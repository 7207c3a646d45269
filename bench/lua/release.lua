-- same KEYS and ARGV as reserve.lua; returns 1 when released, 0 when the token does not match
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[3] then return 0 end
local t = redis.call('TIME')
local now = string.format('%d', t[1] * 1000 + math.floor(t[2] / 1000))
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
local ev = '{"type":"released","resource":"' .. ARGV[1] .. '","holder":"' .. ARGV[2] .. '","token":"' .. ARGV[3]
  .. '","at":' .. now .. ',"note":"' .. ARGV[6] .. '"}'
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'e', ev)
redis.call('PUBLISH', KEYS[4], ev)
return 1
