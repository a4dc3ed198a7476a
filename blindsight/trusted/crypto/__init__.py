"""Worker processes of the keyholder, which may die: what they do with secrets and pixels."""
