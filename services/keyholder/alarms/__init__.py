"""What the keyholder refused of the untrusted side, until its owner has seen it."""
