"""Rotation of keys: every collection moves to a new key set while the old one serves.

    journal.py     what of which collection was copied, on the disk
    copying.py     copies a collection, and follows what is written to it meanwhile
    names.py       gives the copies the names of what they are of, once nothing is written any more
    resealing.py   what the keyholder itself keeps: tokens, tenants, alarms, audit, imports
    rechaining.py  the audit log, under the new keys
    switching.py   files change places, all or none
    rotation.py    the order of it all, and how far it is
    servicer.py    the rpcs

The copy lies in storage beside what it is of, as collections of another key set that nobody knows yet, and
what the keyholder keeps of it in a folder of its own.  So a rotation that is cut off leaves the vault as it
was, and goes on where it was.
"""
