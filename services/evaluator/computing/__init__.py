"""Computations of worker processes, which may die: the kernel, segments, planes, sums."""
