-- check: who holds these resources, and could a stranger take them now?
--
-- function  check
-- flags     allow-oom
-- keys      as reserve
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, array of resources
-- returns       OK, now_us, position, then per resource: holder or false, deadline_ms or false, note or false, capacity, available, whether
--               a stranger could take it now, how many tickets want it
--               | MORE, now_us, position, then the same of the first ones: ask for the others by another call | AGAIN, STALE, RATE as reserve
-- cost          O(different resources * (depth + blocks) * log held), bounded
function check(keys, args)
  local _, cost, floor_at, names = unpack_limit(args[2], 3, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  availability.reset()
  local size, is_done = 0, true
  for n = 1, #names do
    local text = availability.of(names[n])
    answer(text .. pack(lines.waiting(names[n])))
    size, spent = size + #text, spent + 1 / 10
    if (is_piece_done() or size > PAGE_BYTES) and n < #names then
      is_done = false
      break
    end
  end
  plan.write()
  return (is_done and plan.head() or outcome('MORE')) .. concat(answers, '', 1, answered)
end
