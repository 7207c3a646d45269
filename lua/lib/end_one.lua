-- end_one: how a plain script ends that changed one reservation: as `end_plain`, without its tables. `event` is at `position`; the answer is
-- the script's.
call('XADD', HISTORY, 'MAXLEN', '~', HISTORY_LENGTH, format('%d', position), 'e', event)
if now_us > upkeep then
  -- here: change
  look_after_history()
end
last = position
-- here: save
call(PUBLISH, CHANNEL, event)
