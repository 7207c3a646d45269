-- end_plain: how a plain script ends: its events go into the history, the tenant's state is written, everything is told and answered.
for i = 1, #kept, 2 do
  call('XADD', HISTORY, 'MAXLEN', '~', HISTORY_LENGTH, kept[i], 'e', kept[i + 1])
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
