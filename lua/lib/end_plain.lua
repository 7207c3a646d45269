-- end_plain: how a plain script ends: its events go into the history, the tenant's state is written, everything is told and answered.
-- Only the last one cuts the history to its length: of a batch's time in Redis that saves 5 %.
local final = #kept - 1
for i = 1, final - 2, 2 do
  call('XADD', HISTORY, kept[i], 'e', kept[i + 1])
end
if final > 0 then
  call('XADD', HISTORY, 'MAXLEN', '~', HISTORY_LENGTH, kept[final], 'e', kept[final + 1])
end
if kept[1] and now_us > upkeep then
  -- here: change
  look_after_history()
end
if unsaved or kept[1] then
  call('HSET', META, 'state', pack(previous, due, upkeep, rate))
end
if #told > 0 then
  call(PUBLISH, CHANNEL, table.concat(told))
end
return pack(backlog, 'OK', now_us, position) .. table.concat(answers)
