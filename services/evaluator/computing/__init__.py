"""What worker processes compute, which may die: the kernel, segments, sums, schemes, in compiled code."""
