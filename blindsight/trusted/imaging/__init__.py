"""Pictures as arrays."""
