"""Bulk ingest in the keyholder: persistent jobs, and the items that are in the queue.

    importer.py      implements the rpcs: receives files, publishes them, records their outcome
    connecting.py    opens the queue, and waits for one that is unavailable
    store.py         jobs and items in SQLite
    retention.py     deletes jobs that ended long ago
    dead_letters.py  fails items whose messages are dead letters, and requeues them on request
    servicer.py      the rpcs
    wire.py          their messages

Reading photos ahead, and sealing them for the queue, is in `blindsight/trusted/ingest`.
The queue is in `blindsight/trusted/queue`, the workers are in `services/worker`.
"""
