//! What a worker has done, in a database of its own. The message's id is noted in the transaction of
//! its effect: either both are there or neither, so a second delivery can be told from a first.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use crate::shop::OrderCreated;

/// The workers.
pub(crate) const NAMES: [&str; 4] = ["email", "warehouse", "search", "analytics"];

/// A worker's database.
pub(crate) struct Effects {
    database: Connection,
}

impl Effects {
    /// Opens it, making it if it is not there.
    pub(crate) fn open(dir: &Path, worker: &str) -> Self {
        let database =
            Connection::open(dir.join(format!("{worker}.sqlite"))).expect("a database file");
        database
            .busy_timeout(std::time::Duration::from_secs(10))
            .expect("a timeout");
        let schema = "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = NORMAL;
             CREATE TABLE IF NOT EXISTS handled (message_id TEXT PRIMARY KEY, repeats INTEGER DEFAULT 0);
             CREATE TABLE IF NOT EXISTS effects (order_id TEXT, cents INTEGER);";
        database.execute_batch(schema).expect("the schema is laid");
        Self { database }
    }

    /// Has the effect, unless this message had it before. True if it did.
    pub(crate) fn once(&mut self, message_id: &str, event: &OrderCreated) -> bool {
        let transaction = self.database.transaction().expect("a transaction");
        let known: Option<i64> = transaction
            .query_row(
                "SELECT 1 FROM handled WHERE message_id = ?1",
                [message_id],
                |row| row.get(0),
            )
            .optional()
            .expect("a query");
        if known.is_some() {
            let count = "UPDATE handled SET repeats = repeats + 1 WHERE message_id = ?1";
            transaction.execute(count, [message_id]).expect("an update");
        } else {
            transaction
                .execute("INSERT INTO handled (message_id) VALUES (?1)", [message_id])
                .expect("an insert");
            let effect = params![event.order, event.cents.cast_signed()];
            transaction
                .execute("INSERT INTO effects VALUES (?1, ?2)", effect)
                .expect("an insert");
        }
        transaction.commit().expect("a commit");
        known.is_none()
    }

    fn number(&self, query: &str) -> usize {
        let number: i64 = self
            .database
            .query_row(query, [], |row| row.get(0))
            .expect("a query");
        usize::try_from(number).expect("a count")
    }

    /// How many effects there were.
    pub(crate) fn count(&self) -> usize {
        self.number("SELECT count(*) FROM effects")
    }

    /// How many deliveries were repeats.
    pub(crate) fn repeats(&self) -> usize {
        self.number("SELECT coalesce(sum(repeats), 0) FROM handled")
    }

    /// Orders that had the effect twice: there must be none.
    pub(crate) fn orders_with_more_than_one(&self) -> usize {
        self.number(
            "SELECT count(*) FROM (SELECT 1 FROM effects GROUP BY order_id HAVING count(*) > 1)",
        )
    }
}

/// What analytics adds up, in cents.
pub(crate) fn revenue(dir: &Path) -> u64 {
    Effects::open(dir, "analytics").number("SELECT coalesce(sum(cents), 0) FROM effects") as u64
}
