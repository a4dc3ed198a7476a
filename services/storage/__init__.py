"""The storage service.  Zone: UNTRUSTED.

It may know: opaque bytes (ciphertext blocks, sealed originals, sealed metadata and settings), random
ids, keyed hashes, sizes, counts, times, public parameters, the width, height and channels of photos with
planes, and which of these are requested.

It never knows a key, a pixel, a vector, a score, a name or a file name, and it cannot compute on what
it stores: an import contract forbids numpy, schemes and ciphers here.

    __main__      settings, the folder's lock, start
    servicer      rpc methods: parse, delegate, convert
    appends       receives the stream of an append and checks it
    append_queue  orders the appends to one collection
    validation    checks that need no stored state
    executors     runs the blocking store in threads
    garbage       frees bytes that nothing refers to any more
    stores        the stores, of which SQLite is the only one
"""
