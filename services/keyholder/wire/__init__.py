"""The keyholder's proto messages on one side, plain records on the other."""
