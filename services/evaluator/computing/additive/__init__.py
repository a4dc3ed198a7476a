"""Tasks of the additive schemes: weighted sums, windows of planes, inner products with plain queries."""
