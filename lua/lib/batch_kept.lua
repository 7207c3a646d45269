-- batch_kept: the events of a batch share entries of the history, since an entry costs more than what is in it: a quarter of a batch's time
-- in Redis. An entry stands under its last event's position, so that who has read a part of it finds it again.
--
-- The history's length counts entries, of which these would need too few to be cut. So what batches wrote is counted: `marks` are the position
-- below which everything may go, the position since which is counted, and how many were counted. At the length the second becomes the
-- first: as many events as the tier keeps, and at most three times as many, are there.
local TOGETHER = 16 -- events of an entry; a page of the history is so many times longer at most
local below, since, counted = 0, 0, 0
marks = call('HGET', META, 'marks')
if marks then
  below, since, counted = cmsgpack.unpack(marks)
end
counted = counted + #kept / 2
if counted >= HISTORY_LENGTH + 0 then
  below, since, counted = since, previous, 0
end
marks = pack(below, since, counted)
for first = 1, #kept, 2 * TOGETHER do
  local events, final = {}, math.min(first + 2 * TOGETHER - 1, #kept)
  for i = first + 1, final, 2 do
    events[#events + 1] = kept[i]
  end
  if final == #kept then
    call('XADD', HISTORY, 'MINID', '~', format('%d', below), format('%d', kept[final - 1]), 'e', table.concat(events))
  else
    call('XADD', HISTORY, format('%d', kept[final - 1]), 'e', table.concat(events))
  end
end
