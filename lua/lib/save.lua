-- save: the tenant's state is written down, which every call reads first; what stands in it says `open`.
redis.call('HSET', META, 'state', struct.pack('<ddddddddd', last, due or 0, upkeep, rate, version, held_count or -1, cut_below, counted_since, counted))
