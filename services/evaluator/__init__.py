"""The evaluator service.  Zone: UNTRUSTED.  It scores encrypted queries against encrypted galleries.

    servicer, requests          rpcs and their streams
    service, settings           the assembled service and its settings
    operations/                 searches, comparisons, weighted sums, operations on encrypted planes
    galleries/                  galleries that are ready to be scored, kept up to date with storage's log
    storage_client, batch_log   the client of storage, and checks of the log
    tasks, shared_memory        the tasks of worker processes, and the memory shared with them
    computing/                  the arithmetic, inside the worker processes
    geometry, segments          shapes of blocks, and segment files

It holds ciphertexts and public parameters, and no library that could encrypt or decrypt.
"""
