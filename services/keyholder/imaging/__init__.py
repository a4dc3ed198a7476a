"""Image processing on encrypted pixel planes: jobs and their rpcs."""
