-- monitor: the keys of the queue monitor, and what a call on them publishes.
--
-- gives  key, monitor
-- `key` has the name of each of the monitor's keys: `key.jobs`, `key.counts` ...
local NAMES = {
  'meta', 'connections', 'watches', 'cursors', 'jobs', 'job_details', 'jobs_created', 'jobs_open', 'jobs_finished', 'workers', 'beats', 'absent',
  'queues', 'queues_seen', 'counts', 'due',
}
local AT_ONCE = 2000 -- elements of one command; unpack() takes no more than 8000
key, monitor = {}, {}

-- Begins a call on the monitor's keys. Answers a refusal, or nil.
function monitor.begin(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  for n = 1, #NAMES do
    key[NAMES[n]] = keys[n]
  end
  monitor.changes, monitor.due_member, monitor.due_ms = {}, caller.tenant .. '/queues', nil
end

-- A change that the connection's stream gets.
function monitor.note(change)
  monitor.changes[#monitor.changes + 1] = change
end

-- Publishes changes of a connection, given by its 16 bytes.
function monitor.publish(connection, changes)
  if #changes > 0 then
    publish_message(events.numbered(pack('Q', caller.tenant, connection, changes)))
  end
end

-- The tenant's queues are to be looked after at this time at the latest.
function monitor.look_by(ms)
  monitor.due_ms = min(monitor.due_ms or ms, ms)
end

-- One command over a list of elements, `width` of which belong together.
function monitor.run(command, name, list, width)
  local step = AT_ONCE - AT_ONCE % (width or 1)
  for from = 1, #list, step do
    call(command, name, unpack(list, from, min(from + step - 1, #list)))
  end
end

-- A row of a list: the packed text of a field.
function monitor.row(_, packed)
  return pack(packed)
end
