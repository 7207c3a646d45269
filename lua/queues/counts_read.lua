-- counts_read: what ended within spans of time.
--
-- function  counts_read
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 counts       hash    what ended when
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3.. per field: its name
-- returns       OK, now_us, position, then per field its packed counts or false | TOO_MUCH_WORK, now_us, position | STALE, RATE as reserve
-- cost          O(fields), bounded
local AT_ONCE = 2000

function counts_read(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  spent = #args / 2
  if spent > budget.piece_steps then
    return close_call('TOO_MUCH_WORK')
  end
  local pieces = {}
  for from = 3, #args, AT_ONCE do
    pieces[#pieces + 1] = pack_list(call('HMGET', keys[2], unpack(args, from, min(from + AT_ONCE - 1, #args))))
  end
  return close_call('OK') .. concat(pieces)
end
