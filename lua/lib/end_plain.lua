-- end_plain: how a plain script ends that was asked for several, or refuses: its groups go into the history, the tenant's state is written,
-- everything is told and answered.
--
-- The history's length counts entries, of which groups would need too few to be cut. So what batches wrote is counted: the state holds the
-- position below which everything may go (`cut_below`), the position since which is counted, and how many were counted. At the length the
-- second becomes the first: as many events as the tier keeps, and at most three times as many, are there.
close_group()
if kept_count > 0 then
  local how, most = 'MAXLEN', HISTORY_LENGTH
  if kept_count > 1 then
    counted = counted + kept_count
    if counted >= HISTORY_LENGTH + 0 then
      cut_below, counted_since, counted = counted_since, position, 0
    end
    how, most = 'MINID', format('%d', cut_below)
  end
  for i, group in ipairs(groups) do
    if places[i] then
      call('XADD', HISTORY, how, '~', most, format('%d', places[i]), 'e', group)
    end
  end
  if now_us > upkeep then
    -- here: change
    look_after_history()
  end
  last = position
end
if unsaved or kept_count > 0 then
  -- here: save
end
for _, group in ipairs(groups) do
  call(PUBLISH, CHANNEL, group)
end
answers[0] = pack(backlog, 'OK', now_us, position)
return table.concat(answers, '', 0, answered)
