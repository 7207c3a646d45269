-- bad_token: one wrong token and nothing is done. `refused` is what is told instead, false where no token is wrong; `wrong` says which are.
if refused then
  if unsaved then
    -- here: save
  end
  if refused[1] then
    call(PUBLISH, CHANNEL, table.concat(refused))
  end
  for i = 1, count do
    wrong[i] = wrong[i] and '\195' or '\194' -- packed
  end
  return pack(backlog, 'BAD_TOKEN', now_us, math.max(last, floor)) .. table.concat(wrong)
end
