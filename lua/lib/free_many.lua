-- free_many: what a batch gives back is held no more.
for first = 1, freed_count, 2000 do
  call('HDEL', HELD, unpack(freed, first, math.min(first + 1999, freed_count)))
end
if any_dated then
  for first = 1, freed_count, 2000 do
    call('ZREM', DEADLINES, unpack(freed, first, math.min(first + 1999, freed_count)))
  end
end
held_count = held_count and held_count - freed_count or call('HLEN', HELD)
-- The earliest deadline stays behind as a lower bound, but where nothing is left none may stay.
if due and held_count == 0 then
  due = false
  call('ZREM', DUE, TENANT)
end
