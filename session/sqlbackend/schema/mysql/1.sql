-- What latchkey keeps in MySQL or MariaDB, version 1. It may be applied more than once.
-- For another table name replace latchkey_items everywhere.
CREATE TABLE IF NOT EXISTS latchkey_items (
	item_key BINARY(32) NOT NULL PRIMARY KEY, -- a hash
	version BIGINT NOT NULL,                  -- the 64 bits of an unsigned number
	owner BINARY(32) NULL,                    -- a hash; NULL: nobody's
	expires BIGINT NOT NULL,                  -- Unix milliseconds
	writes BIGINT NOT NULL DEFAULT 0,         -- changes with every write, so that a write of the same values counts as one
	data MEDIUMBLOB NOT NULL,                 -- sealed
	KEY latchkey_items_owner (owner),
	KEY latchkey_items_expires (expires)
) ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS latchkey_items_schema (version INT NOT NULL PRIMARY KEY) ENGINE=InnoDB;
INSERT IGNORE INTO latchkey_items_schema (version) VALUES (1);
