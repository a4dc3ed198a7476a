"""Users whom an OpenID Connect issuer vouches for: its JWTs, its keys, and what their claims allow here."""
