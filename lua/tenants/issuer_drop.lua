-- issuer_drop: a tenant gives up a pair of issuer and audience, if it has it.
--
-- function  issuer_drop
-- flags     allow-oom
-- keys
--   1 issuer       string  the directory: "tenant ms", which tenant a pair of issuer and audience belongs to, and since when
-- args
--   1 tenant
-- returns       OK, now_us, 0
-- cost          O(1)
function issuer_drop(keys, args)
  read_clock()
  local present = call('GET', keys[1])
  if present and match(present, '^%S+') == args[1] then
    call('DEL', keys[1])
  end
  return outcome('OK')
end
