"""The operations that clients request: searches, comparisons, weighted sums, operations on planes."""
