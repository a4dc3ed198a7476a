"""Bulk ingest, the workers' half: any number of processes that take sealed photos from the queue to storage.

    worker.py            takes messages, gathers what is ready, settles what is stored
    preparing.py         from a message to an item that is ready to be stored
    quarantine.py        prepares alone what may have killed a process; gate.py keeps the others out
    in_flight.py         counts what was taken and not settled yet
    batching.py          gathers prepared messages by collection, and lets them wait for others
    committing.py        from ready items to storage, and what became of each
    acknowledging.py     settles messages
    keyholder_client.py  the keyholder, as workers call it

What is done to a photo is `blindsight/trusted/ingest/pipeline.py`, which plain ingest shares.
Zone: TRUSTED; a worker has the owner's key file.  The other half is `services/keyholder/jobs`.
"""
