"""Conversion between the keyholder's proto messages and plain records."""
