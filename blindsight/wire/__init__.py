"""What passes between services: for each message one record and its two conversions, used by both ends.

A record is an immutable value; `to_message` makes the message of it, `from_message` makes it of a message.
What is wrong in a message raises InvalidArgument: whoever reads the answer of another service wraps that in
`blindsight.runtime.transfer.answer_of`, which makes DataLoss of it.
"""
