-- caller: what few calls need to know of who calls, unpacked where it is needed; see `open`.
do
  local at
  at, TENANT, CREDENTIAL, LABEL, END_USER, REQUIRE_REGISTRATION = cmsgpack.unpack_limit(ARGV[1], 5, rest)
end
