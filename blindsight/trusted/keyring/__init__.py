"""The owner's secrets: key sets, the key file, its passphrase, and sealing with these keys."""
