"""What worker processes do with secrets and pixels: one function for each task of `crypto.tasks`."""
