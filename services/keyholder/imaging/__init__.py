"""Image processing on encrypted pixel planes: whole jobs and their rpcs."""
