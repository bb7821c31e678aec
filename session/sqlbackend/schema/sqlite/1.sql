-- What latchkey keeps in SQLite, version 1. It may be applied more than once.
-- For another table name replace latchkey_items everywhere.
CREATE TABLE IF NOT EXISTS latchkey_items (
	item_key BLOB NOT NULL PRIMARY KEY, -- 32 bytes, a hash
	version INTEGER NOT NULL,           -- the 64 bits of an unsigned number
	owner BLOB,                         -- 32 bytes, a hash; NULL: nobody's
	expires INTEGER NOT NULL,           -- Unix milliseconds
	data BLOB NOT NULL                  -- sealed
);
CREATE INDEX IF NOT EXISTS latchkey_items_owner ON latchkey_items (owner) WHERE owner IS NOT NULL;
CREATE INDEX IF NOT EXISTS latchkey_items_expires ON latchkey_items (expires);
CREATE TABLE IF NOT EXISTS latchkey_items_schema (version INTEGER NOT NULL PRIMARY KEY);
INSERT OR IGNORE INTO latchkey_items_schema (version) VALUES (1);
