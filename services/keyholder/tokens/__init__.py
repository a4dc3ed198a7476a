"""Who may ask the keyholder for what: tokens of users, their roles, and the collections they are for."""
