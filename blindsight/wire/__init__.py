"""Messages between services: one record for each message, and its two conversions, used by both ends.

A record is an immutable value; `to_message` converts it to the message, `from_message` converts it back.
An invalid message raises InvalidArgument.  Code that reads the answer of another service does so within
`blindsight.runtime.transfer.answer_of`, which raises DataLoss instead.
"""
