-- The library's probe: it does nothing but name what the user of this connection may not do, of all that the service needs.
-- An error, since of the answers of a cluster's nodes an error is the one that is seen: RIGHTS, then what an ACL rule would add.
-- Arguments: a pattern of our keys and channels; a key and a channel that match it; the commands to publish and to subscribe with.
local ON_KEYS = 'BITCOUNT K|BITPOS K 0|DEL K|EXISTS K|EXPIRE K 1|GET K|GETRANGE K 0 1|HDEL K f|HEXISTS K f|HGET K f|HGETALL K|HINCRBY K f 1|HLEN K|HRANDFIELD K 1|'
  .. 'HMGET K f|HSCAN K 0|HSET K f v|HSETNX K f v|HSTRLEN K f|HVALS K|LINDEX K 0|LLEN K|MEMORY USAGE K|LRANGE K 0 1|LTRIM K 0 1|PEXPIRE K 1|RPUSH K v|'
  .. 'SADD K v|SET K v|SETBIT K 0 1|SETRANGE K 0 v|SMEMBERS K|SREM K v|STRLEN K|UNLINK K|ZADD K 0 v|ZCARD K|ZCOUNT K 0 1|ZLEXCOUNT K - +|'
  .. 'ZMSCORE K v|ZRANGE K 0 1|ZRANGEBYSCORE K 0 1|ZREM K v|ZREMRANGEBYRANK K 0 1|ZREMRANGEBYSCORE K 0 1|ZREVRANGE K 0 1|ZSCORE K v'
local WITHOUT_KEYS = 'TIME|PING|INFO'

local function rights(args)
  local pattern, key, channel, publish, subscribe = args[1], args[2], args[3], args[4], args[5]
  local missing, count, keyed = {}, 0, 0
  local function may(words)
    -- A command that the server does not have is an error of its own.
    local is_known, is_allowed = pcall(redis.acl_check_cmd, unpack(words))
    return is_known and is_allowed
  end
  local function check(line, rule)
    local words = {}
    for word in string.gmatch(line, '%S+') do
      words[#words + 1] = word == 'K' and key or word == 'C' and channel or word
    end
    if not may(words) then
      count = count + 1
      missing[count] = rule or '+' .. string.lower(words[1] == 'MEMORY' and 'memory|usage' or words[1])
      return 1
    end
    return 0
  end
  local of_keys = 0
  for line in string.gmatch(ON_KEYS, '[^|]+') do
    of_keys, keyed = of_keys + 1, keyed + check(line)
  end
  if keyed == of_keys then
    -- All of them: it is the keys that it may not touch.
    missing, count = { '~' .. pattern }, 1
  end
  for line in string.gmatch(WITHOUT_KEYS, '[^|]+') do
    check(line)
  end
  check(publish .. ' C v', '+' .. string.lower(publish) .. ' &' .. pattern)
  check(subscribe .. ' C', '+' .. string.lower(subscribe) .. ' &' .. pattern)
  if count > 0 then
    return redis.error_reply('RIGHTS ' .. table.concat(missing, ' '))
  end
  return ''
end
