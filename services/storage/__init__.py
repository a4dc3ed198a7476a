"""The storage service.  Zone: UNTRUSTED.

It may know: opaque bytes (ciphertext blocks, sealed originals, sealed metadata and settings), random
ids, keyed hashes, sizes, counts, times, public parameters, the width, height and channels of photos with
planes, and which of them are asked for.

It never knows a key, a pixel, a vector, a score, a name or a file name, and it cannot compute on what
it stores: no numpy, no scheme and no cipher is within its reach (an import contract keeps it so).

    __main__   settings, one-writer lock, start
    servicer   rpc methods: parse, delegate, convert          wire    messages <-> records
    appends    takes an append's stream apart and checks it    checks  what may be stored at all
    threads    lets asyncio use a blocking store               stores  where the bytes lie
"""
