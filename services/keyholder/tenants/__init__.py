"""Tenants of a keyholder: vaults of their own, which share the machine and know nothing of one another."""
