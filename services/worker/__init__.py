"""Bulk ingest, the workers' half: any number of processes that take sealed photos from the queue to storage.

    worker.py    takes messages, gathers what is ready, settles what is stored
    opening.py   from a message to an item that is ready to be stored
    trials.py    opens alone what may have killed a worker; room.py keeps the others out
    hands.py     counts what is held
    lookups.py   asks storage what it has
    batches.py   gathers opened messages by collection
    storing.py   from ready items to storage, and what became of each
    settling.py  acknowledges; patience.py waits for who is away
    peers.py     the keyholder, as workers call it

Zone: TRUSTED; a worker has the owner's key file.  The other half is `services/keyholder/jobs`.
"""
