"""Worker processes that compute with secrets and pixels; one that dies is replaced."""
