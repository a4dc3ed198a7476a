"""Computations of worker processes, which may die: the kernel, segments, sums, schemes, in compiled code."""
