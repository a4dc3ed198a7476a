"""What the keyholder keeps of its galleries, to open and check the evaluator's answers.

answer_keys  the newest answer key of each collection, up to date with storage's log
store        answer keys on the disk, sealed
alarms       a record of answers that were not what they should be
"""
