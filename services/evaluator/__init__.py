"""UNTRUSTED.  Scores encrypted queries against encrypted galleries.

    servicer, wire, peers    the edges: rpcs, messages, the client of storage
    service, settings        the whole, and how it is set up
    search                   one search, from its first byte to its summary
    galleries, cache         which gallery to score; what is ready on disk
    refresh                  append is addition: batches from storage become segments
    scorer, tasks, shared    what the worker processes are asked, and the memory shared with them
    scoring, building        inside the worker processes
    kernel, tiles, prng      the arithmetic
    geometry, segments       shapes and files

It holds ciphertexts and public parameters, and no library that could encrypt or decrypt.
"""
