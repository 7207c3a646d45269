-- save: the tenant's state is written down, which every call reads first; what stands in it says `open`.
redis.call('HSET', META, 'state', cmsgpack.pack(last, due, upkeep, rate, version, held_count))
