"""What the keyholder remembers of storage's past: the newest state of each collection that it has seen."""
