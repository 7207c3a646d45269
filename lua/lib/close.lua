-- close: how a call ends that was counted: what it changed of the tenant's state is written, and its answer goes out behind the backlog.
local function close(answer)
  if unsaved then
    -- here: save
  end
  return cmsgpack.pack(backlog) .. answer
end
