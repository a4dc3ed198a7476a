"""`blindsight diff`: the difference of two pictures, and a report of what the server saw."""
