#!lua flags=allow-oom
-- session_end: somebody signs out; the session is refused from here on, and its streams are told to end.
--
-- uses          open, sessions
-- keys
--   1 meta      hash    position, version, credentials
--   2 sessions  zset    session hash -> when it ends, ms since epoch
-- args
--   1 caller    see open; the session
-- returns       OK, now_us, position
-- cost          O(log sessions)
end_session(KEYS[2], string.sub(CREDENTIAL, 3))
return cmsgpack.pack({ 'OK', now_us, position })
