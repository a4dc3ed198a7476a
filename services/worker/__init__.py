"""Workers of bulk ingest: any number of processes that take sealed photos from the queue to storage.

    worker.py            takes messages, gathers prepared items, settles what is stored
    preparing.py         turns a message into an item that is ready to be stored
    quarantine.py        prepares photos that may have killed a process, one at a time
    gate.py              limits how many photos are prepared at once
    in_flight.py         counts messages that were taken and not settled yet
    batching.py          gathers prepared messages by collection
    committing.py        stores prepared items and reports the outcome of each
    acknowledging.py     settles messages
    keyholder_client.py  calls the keyholder

Photos are processed by `blindsight/trusted/ingest/pipeline.py`, which plain ingest shares.
Zone: TRUSTED; a worker has the owner's key file.  The other half is `services/keyholder/jobs`.
"""
