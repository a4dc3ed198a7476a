"""How often somebody may call, and how much they may ask in a day; by any key: a token, a tenant."""
