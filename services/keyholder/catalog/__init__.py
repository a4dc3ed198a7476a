"""The catalog: what the keyholder knows of each item beside its vector, indexed."""
