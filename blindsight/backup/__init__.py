"""Copies of what services keep, taken while they serve, and the way back.

    parts.py      what a service keeps; each says so in its own room (`.../backup.py`)
    snapshots.py  one moment of several databases
    manifest.py   what a backup holds, by size and SHA-256
    saving.py     data folder to backup
    checking.py   a backup against its manifest; nothing of it is believed before that
    restoring.py  backup to an empty data folder
    disk.py       writes, copies and flushes files
    command.py    the same for the data folder of a single service, as in a container

Zone: neutral; it copies bytes that it does not understand.  `blindsight backup` is made of it.
"""
