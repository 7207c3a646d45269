-- watch_look: when a tenant's connections may be taken to be watched.
--
-- function  watch_look
-- flags     no-writes
-- keys
--   1 connections  hash    connection -> packed connection
--   2 watches      hash    connection -> packed watch
-- args
--   1.. connection
-- returns       OK, now_us, 0, then per connection: in how many ms its lease ends, 0 when it has none, -2 when its watcher did not keep it,
--               -1 when there is no such connection
-- cost          O(connections asked for)
function watch_look(keys, args)
  read_clock()
  local items = {}
  for n = 1, #args do
    local left = -1
    if call('HEXISTS', keys[1], args[n]) == 1 then
      local watch = call('HGET', keys[2], args[n])
      left = 0
      if watch then
        local _, until_ms, _, is_given_back = unpack_sequence(watch)
        left = is_given_back and 0 or until_ms > now_ms and until_ms - now_ms or -2
      end
    end
    items[n] = left
  end
  return outcome('OK') .. pack_list(items)
end
