//! The tables, and how older ones become today's.

use std::path::Path;

use rand::Rng as _;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{Key, StoreError};

/// Each entry leads from its index to the next version; `user_version` of the
/// file says which have been run. An entry that was released is never changed.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE broker (
        one   INTEGER PRIMARY KEY CHECK (one = 1),
        epoch INTEGER NOT NULL,
        key   BLOB NOT NULL CHECK (length(key) = 32)
    ) STRICT;
    CREATE TABLE sessions (
        number     INTEGER PRIMARY KEY AUTOINCREMENT,
        id         TEXT NOT NULL UNIQUE,
        created_us INTEGER NOT NULL,
        status     TEXT NOT NULL,
        reason     TEXT,
        settings   TEXT NOT NULL,
        sandbox    TEXT,
        boot       TEXT,
        instances  TEXT NOT NULL DEFAULT '[]'
    ) STRICT;
",
    "
    CREATE TABLE images (
        name      TEXT PRIMARY KEY,
        digest    TEXT NOT NULL,
        manifest  TEXT NOT NULL,
        blobs     TEXT NOT NULL,
        stamp     TEXT,
        pulled_us INTEGER NOT NULL,
        used_us   INTEGER NOT NULL
    ) STRICT;
",
];

/// Brings the file to the newest version, or leaves it as it was.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let found: i64 = transaction
        .query_row("SELECT user_version FROM pragma_user_version", [], |row| row.get(0))
        .map_err(failed)?;
    let done = usize::try_from(found).ok().filter(|done| *done <= MIGRATIONS.len());
    let Some(done) = done else {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    };
    for migration in &MIGRATIONS[done..] {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// An epoch above every earlier one also when the clock was set back, and the key.
pub(super) fn next_epoch(connection: &mut Connection, now: u64) -> rusqlite::Result<(u64, Key)> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before = read(&transaction)?;
    let (last, key) = before.unwrap_or_else(|| {
        let mut key = Key::default();
        rand::rng().fill_bytes(&mut key);
        (0, key)
    });
    let now = i64::try_from(now).unwrap_or(0);
    let epoch = now.max(last.saturating_add(1));
    transaction.execute(
        "INSERT INTO broker (one, epoch, key) VALUES (1, ?1, ?2)
         ON CONFLICT (one) DO UPDATE SET epoch = excluded.epoch",
        params![epoch, key],
    )?;
    transaction.commit()?;
    Ok((u64::try_from(epoch).unwrap_or(0), key))
}

fn read(transaction: &Transaction<'_>) -> rusqlite::Result<Option<(i64, Key)>> {
    let query = "SELECT epoch, key FROM broker WHERE one = 1";
    transaction.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}
