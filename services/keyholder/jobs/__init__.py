"""Bulk ingest, the keyholder's half: jobs that outlive every process, and the items on their way.

    importer.py      what the rpcs delegate to: takes files in, publishes them, keeps account of them
    connecting.py    opens all of it, and waits for a queue that is away
    store.py         jobs and items in SQLite
    retention.py     forgets jobs that ended long ago
    dead_letters.py  items that died with their workers, and their way back
    servicer.py      the rpcs; wire.py their messages

How photos are read ahead, and sealed for the queue, is `blindsight/trusted/ingest`.
The queue is `blindsight/trusted/queue`, the other half is `services/worker`.
"""
