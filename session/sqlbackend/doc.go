// Package sqlbackend keeps the sessions of replicas in a PostgreSQL, MySQL, MariaDB or SQLite database: a store.Backend over database/sql. It imports no
// driver; bring the application's own.
//
//	db, err := sql.Open("pgx", dsn)
//	backend, err := sqlbackend.New(db, sqlbackend.Config{Dialect: sqlbackend.PostgreSQL})
//	err = backend.CreateSchema(ctx) // or apply schema/postgresql/*.sql by hand
//	store, err := session.NewServerStore(backend, key)
//
// # Schema
//
// The tables are made by the files schema/<dialect>/<version>.sql, in the order of their numbers. CreateSchema applies those that are missing, when the
// database's user may; where it may not, an operator applies the files, and CheckSchema tells at start whether that was done.
//
// # What the database has to do
//
// All replicas must use the same primary: what one has written the next must read, so neither a read replica nor a cluster that reads what is old will do.
// Autocommit has to be on, as it is by default; CreateSchema and CheckSchema look. Any isolation level will do. A failover that loses the last writes brings back refresh tokens that are spent, and
// sessions that were ended: let the primary wait for its standby (synchronous_commit, rpl_semi_sync_master_enabled) where that matters.
//
// Ends are compared with the clock of the replica that asks. The clocks of all must agree within a second or so: one that is ahead takes over the lease of a refresh
// earlier, by as much as it is ahead. Ended items stay in the table until Sweep removes them, a minute or more after their end; nothing reads them.
//
// It is tested with PostgreSQL 15, MariaDB 10.11 and SQLite 3; what is sent to MariaDB is MySQL's SQL as well.
//
// # Drivers
//
// Each method is one statement outside a transaction (two or three for a Put that meets an old row in MySQL), sent without preparing it first: drivers that cache
// statements do that better. Give go-sql-driver/mysql interpolateParams=true, which saves it a round trip for each statement; clientFoundRows may be on or off.
// For SQLite use the journal mode WAL and a busy_timeout of about a second: a driver may wait that long after the context has ended. Every other wait ends with
// the context, also when the server hangs. A connection that is being made to a server that hangs ends with the driver's own time-out, so set
// connect_timeout (PostgreSQL) or timeout and readTimeout (MySQL).
package sqlbackend
