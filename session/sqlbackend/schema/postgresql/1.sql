-- What latchkey keeps in PostgreSQL, version 1. It may be applied more than once.
-- For another table name replace latchkey_items everywhere; a schema prefix goes before the names of tables, not before those of indexes.
CREATE TABLE IF NOT EXISTS latchkey_items (
	item_key bytea NOT NULL PRIMARY KEY, -- 32 bytes, a hash
	version bigint NOT NULL,             -- the 64 bits of an unsigned number
	owner bytea,                         -- 32 bytes, a hash; NULL: nobody's
	expires bigint NOT NULL,             -- Unix milliseconds
	data bytea NOT NULL                  -- sealed
);
CREATE INDEX IF NOT EXISTS latchkey_items_owner ON latchkey_items (owner) WHERE owner IS NOT NULL;
CREATE INDEX IF NOT EXISTS latchkey_items_expires ON latchkey_items (expires);
CREATE TABLE IF NOT EXISTS latchkey_items_schema (version integer NOT NULL PRIMARY KEY);
INSERT INTO latchkey_items_schema (version) VALUES (1) ON CONFLICT DO NOTHING;
