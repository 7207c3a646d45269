-- end_plain: how a plain script ends that was asked for several, or refuses: its events go into the history, the tenant's state is written, everything is told and answered.
-- `kept` is position, packed event, position, packed event ...
local marks = nil
if #kept == 2 then
  call('XADD', HISTORY, 'MAXLEN', '~', HISTORY_LENGTH, format('%d', kept[1]), 'e', kept[2])
elseif kept[1] then
  -- here: batch_kept
end
if kept[1] and now_us > upkeep then
  -- here: change
  look_after_history()
end
if marks then
  call('HSET', META, 'marks', marks)
end
last = previous
if unsaved or kept[1] then
  -- here: save
end
if #told > 0 then
  call(PUBLISH, CHANNEL, table.concat(told))
end
return pack(backlog, 'OK', now_us, position) .. table.concat(answers)
