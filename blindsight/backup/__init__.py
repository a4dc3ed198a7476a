"""Backups of services' data folders, taken while the services run, and their restoration.

    parts.py      declarations of what a service keeps; each service has its own (`.../backup.py`)
    snapshots.py  consistent snapshots of several databases
    manifest.py   the contents of a backup, by size and SHA-256
    saving.py     data folder to backup
    checking.py   verification of a backup against its manifest, before anything of it is used
    restoring.py  backup to an empty data folder
    disk.py       writes, copies and flushes files
    command.py    the same for the data folder of a single service, as in a container

Zone: neutral; it copies bytes that it does not understand.  `blindsight backup` is built on it.
"""
