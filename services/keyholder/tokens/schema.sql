-- Tokens of users that hold, or have expired; one that was revoked is not here.

CREATE TABLE tokens (
  id TEXT PRIMARY KEY, -- public part of the token, 12 hex digits
  digest BLOB NOT NULL, -- SHA-256 of its secret part
  created INTEGER NOT NULL, -- seconds since 1970
  expires INTEGER, -- seconds since 1970; null: never
  sealed BLOB NOT NULL -- role, collections, name
) STRICT;
