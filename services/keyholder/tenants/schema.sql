-- Tenants that hold, or whose collections are still to be deleted.

CREATE TABLE tenants (
  id TEXT PRIMARY KEY, -- 32 hex digits, random; names the tenant's folder
  created INTEGER NOT NULL, -- seconds since 1970
  sealed BLOB NOT NULL -- name, quotas, the key id, what opens the key file
) STRICT;
