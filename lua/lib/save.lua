-- save: the tenant's state is written down, which every call reads first; what stands in it says `open`.
redis.call('HSET', META, 'state', struct.pack('<dddddd', last, due or 0, upkeep, rate, version, held_count or -1))
