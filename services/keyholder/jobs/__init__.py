"""Bulk ingest, the keyholder's half: jobs that outlive every process, and the items on their way.

    imports.py   what the rpcs delegate to: takes files in, publishes them, keeps account of them
    bulk.py      opens all of it, and waits for a queue that is away
    gathering.py reads ahead while photos are published
    store.py     jobs and items in SQLite
    retention.py forgets jobs that ended long ago
    deadletters.py  items that died with their workers, and their way back
    envelope.py  how an original is sealed for the queue, and its name for the account
    servicer.py  the rpcs; wire.py their messages

The queue is `blindsight/trusted/queue`, the other half is `services/worker`.
"""
