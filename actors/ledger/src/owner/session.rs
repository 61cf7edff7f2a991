//! A PostgreSQL session that stays open while its process owns the ledger. It holds a lock, by which a second process
//! knows that the first lives. A killed process loses the lock at once, a dead machine after some seconds. Each second
//! the session reads the lease: so it also detects that PostgreSQL is away, is back, or that another process has taken
//! the ledger over.

use std::time::Duration;

use sea_orm::sqlx::{self, Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{Claim, in_use};
use crate::{
    LedgerError,
    project::EPOCH,
    standing::{Fault, Standing},
};

/// The id of the lock, together with the schema.
const LOCK: i32 = 0x4661_7265;
/// The condition for an owner's lock in `pg_locks`, called `lock`.
const HAS_LOCK: &str = "lock.locktype = 'advisory' AND lock.granted AND lock.classid = $1::int8::oid AND lock.database = \
    (SELECT oid FROM pg_database WHERE datname = current_database()) AND lock.objid::int8 = \
    hashtext(coalesce(current_schema()::text, ''))::int8 & 4294967295";
/// The id of the lock for what one node at a time does when it starts, and how long a node waits for it: another may bring
/// the schema up to date.
const BEGINS: i32 = 0x4661_7266;
const BEGINS_WITHIN: Duration = Duration::from_mins(2);
/// How often the lease is read.
const EVERY: Duration = Duration::from_secs(1);
/// How long an answer may take before PostgreSQL counts as away.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Sessions tried before PostgreSQL counts as away although it accepts them.
const TRIES: usize = 3;
/// How long a wait for the lock takes to join the queue.
const IN_LINE: Duration = Duration::from_millis(50);
/// How long owners have to reconnect after PostgreSQL was started. An owner that has not by then is gone.
const COME_BACK: Duration = Duration::from_secs(4);
/// How the server detects the dead machine of a session: after five seconds, and three attempts of two seconds.
const KEEPALIVE: [(&str, &str); 3] =
    [("tcp_keepalives_idle", "5"), ("tcp_keepalives_interval", "2"), ("tcp_keepalives_count", "3")];

/// The session of an owner, or of a future one, or of one of several nodes.
#[derive(Debug)]
pub(crate) struct Session {
    claim: Claim,
    connection: PgConnection,
    options: PgConnectOptions,
    /// Whether the session has the lock. Not yet after a takeover of a living owner.
    has_lock: bool,
}

fn away(error: &sqlx::Error) -> LedgerError {
    LedgerError::Away(format!("PostgreSQL does not answer: {error}"))
}

impl Session {
    /// Opens the session and takes the lock. If a living process holds it, that is an error with its name, unless the
    /// ledger is to be taken over.
    pub(crate) async fn open(url: &str, claim: Claim) -> Result<Self, LedgerError> {
        let unusable = |error: sqlx::Error| LedgerError::Unusable(error.to_string());
        let name = super::Owner::here(None).to_string();
        let options = url.parse::<PgConnectOptions>().map_err(unusable)?;
        let options = options.options(KEEPALIVE).application_name(&format!("farebox, {name}"));
        let connection = connect(&options).await?;
        let mut session = Self { claim, connection, options, has_lock: false };
        session.wait_for_others().await?;
        session.has_lock = session.try_lock().await.map_err(|error| away(&error))?;
        if !session.has_lock && claim != Claim::TakeOver {
            return Err(LedgerError::Owned(in_use(&session.holder().await)));
        }
        Ok(session)
    }

    /// Waits if PostgreSQL was started just now: a living owner may not have reconnected yet.
    async fn wait_for_others(&mut self) -> Result<(), LedgerError> {
        let sql = "SELECT to_regclass('shard_lease') IS NOT NULL, \
                   EXTRACT(EPOCH FROM clock_timestamp() - pg_postmaster_start_time())::float8";
        let (is_used, seconds): (bool, f64) =
            sqlx::query_as(sql).fetch_one(&mut self.connection).await.map_err(|error| away(&error))?;
        let up = Duration::try_from_secs_f64(seconds).unwrap_or(COME_BACK);
        if is_used && up < COME_BACK {
            tracing::info!("PostgreSQL was started just now: an owner that lives has a moment to come back");
            tokio::time::sleep(COME_BACK.saturating_sub(up)).await;
        }
        Ok(())
    }

    async fn try_lock(&mut self) -> Result<bool, sqlx::Error> {
        // Nodes share the lock with one another, and with no owner of everything.
        let sql = match self.claim {
            Claim::IfFree | Claim::TakeOver => {
                "SELECT pg_try_advisory_lock($1, hashtext(coalesce(current_schema()::text, '')))"
            }
            Claim::Share => "SELECT pg_try_advisory_lock_shared($1, hashtext(coalesce(current_schema()::text, '')))",
        };
        let ask = sqlx::query_scalar(sql).bind(LOCK).fetch_one(&mut self.connection);
        tokio::time::timeout(ANSWERS_WITHIN, ask).await.map_err(|_| late())?
    }

    /// Does what one node at a time does when it starts.
    pub(crate) async fn alone<T>(
        &mut self,
        work: impl AsyncFnOnce() -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let lock = "SELECT pg_advisory_lock($1, hashtext(coalesce(current_schema()::text, '')))";
        let waits = sqlx::query(lock).bind(BEGINS).execute(&mut self.connection);
        let waited = tokio::time::timeout(BEGINS_WITHIN, waits).await.map_err(|_| away(&late()))?;
        waited.map_err(|error| away(&error))?;
        let done = work().await;
        // A session that is lost gives the lock back, too.
        let unlock = "SELECT pg_advisory_unlock($1, hashtext(coalesce(current_schema()::text, '')))";
        let _ = sqlx::query(unlock).bind(BEGINS).execute(&mut self.connection).await;
        done
    }

    /// The holder of the lock, by its session's name.
    async fn holder(&mut self) -> String {
        let sql =
            format!("SELECT application_name FROM pg_stat_activity JOIN pg_locks lock USING (pid) WHERE {HAS_LOCK}");
        let found: Result<Option<String>, _> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .bind(i64::from(LOCK))
            .fetch_optional(&mut self.connection)
            .await;
        let name = found.ok().flatten().unwrap_or_default();
        name.strip_prefix("farebox, ").map_or_else(|| "another process".to_owned(), str::to_owned)
    }

    /// Reads the lease's epoch, within the time limit.
    async fn epoch(&mut self) -> Result<Option<i64>, sqlx::Error> {
        let ask = sqlx::query_scalar(EPOCH).fetch_optional(&mut self.connection);
        tokio::time::timeout(ANSWERS_WITHIN, ask).await.map_err(|_| late())?
    }

    /// Takes the lock of the owner that was taken over: joins the queue before that session is ended, so that no third
    /// process finds the lock free in between.
    async fn take_over(&mut self) -> Result<(), LedgerError> {
        let mut other = connect(&self.options).await?;
        let end = async {
            // By then the wait below has joined the queue, or is first.
            tokio::time::sleep(IN_LINE).await;
            let sql = format!("SELECT pg_terminate_backend(pid) FROM pg_locks lock WHERE {HAS_LOCK}");
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(i64::from(LOCK)).execute(&mut other).await
        };
        let sql = "SELECT pg_advisory_lock($1, hashtext(coalesce(current_schema()::text, '')))";
        let wait = sqlx::query(sql).bind(LOCK).execute(&mut self.connection);
        let wait = async { tokio::time::timeout(ANSWERS_WITHIN, wait).await.map_err(|_| late())? };
        let (waited, ended) = tokio::join!(wait, end);
        waited.and(ended).map_err(|error| away(&error))?;
        self.has_lock = true;
        Ok(())
    }

    /// Keeps the session, and sets the standing of the ledger for the owner of this epoch, forever. Nodes have no epoch
    /// of all shards: for them it is kept whether PostgreSQL is there.
    pub(crate) async fn keep(mut self, epoch: Option<i64>, standing: Standing) {
        // The epoch is this process's by now: the older owner can't write any more.
        if !self.has_lock
            && let Err(error) = self.take_over().await
        {
            tracing::warn!(%error, "the lock of the owner that was taken over is not this process's yet");
        }
        loop {
            let mut found = self.epoch().await;
            for _ in 0..TRIES {
                let Err(error) = &found else { break };
                tracing::warn!(%error, "PostgreSQL does not answer");
                if is_late(error) {
                    standing.set(Some(away_now()));
                }
                // The session alone may have been ended: a new one tells whether PostgreSQL is there.
                let Ok(connection) = connect(&self.options).await else { break };
                self = Self { connection, has_lock: false, ..self };
                found = self.epoch().await;
            }
            match found {
                Ok(found) if epoch.is_none() || found == epoch => {
                    if !self.has_lock {
                        self.has_lock = self.try_lock().await.unwrap_or(false);
                    }
                    standing.set(None);
                }
                Ok(_) => standing.set(Some(Fault::Fenced)),
                Err(_) => standing.set(Some(away_now())),
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

fn away_now() -> Fault {
    Fault::Away("PostgreSQL is away".to_owned())
}

fn is_late(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
}

fn late() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, LedgerError> {
    match tokio::time::timeout(ANSWERS_WITHIN, PgConnection::connect_with(options)).await {
        Ok(connected) => connected.map_err(|error| away(&error)),
        Err(_) => Err(away(&late())),
    }
}
