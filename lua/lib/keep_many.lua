-- keep_many: what a batch holds now, by when, and the earliest of that: `records` is name, packed, name, packed ...; `deadlines` ms, name ...
for first = 1, written, 2000 do
  call('HSET', HELD, unpack(records, first, math.min(first + 1999, written)))
end
for first = 1, dated, 2000 do
  call('ZADD', DEADLINES, unpack(deadlines, first, math.min(first + 1999, dated)))
end
if earliest ~= due then
  due = earliest
  call('ZADD', DUE, format('%d', due), TENANT)
end
