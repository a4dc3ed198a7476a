"""The keyholder service.  Zone: TRUSTED.  It alone knows secret keys, pixels, vectors and scores."""
