"""The owner's secrets: key sets, the file that keeps them, its passphrase, and seals made with them."""
