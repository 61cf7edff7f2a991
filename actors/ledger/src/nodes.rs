//! Nodes that share a ledger in PostgreSQL, and their leases of its shards. Each statement here is one transaction, by a
//! connection that nothing else uses. What follows from the rows is not decided here. All times are the database's.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use billing::Timestamp;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, QueryResult, Statement, Value, sqlx,
};
use uuid::Uuid;

use super::{
    Ledger, LedgerError,
    connections::ANSWERS_WITHIN,
    log::{Shard, tail::Tail},
    pool::Pool,
};

/// The channel by which nodes tell one another that a lease has changed.
pub(super) const CHANNEL: &str = "farebox_shards";
/// The database's time in milliseconds.
const NOW: &str = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";
/// How long the row of a node that is gone is kept, for those who look at nodes.
const KEPT_MS: i64 = 24 * 60 * 60 * 1_000;

/// How long nothing may be heard of leases before it is looked whether anything could be.
const QUIET: Duration = Duration::from_secs(5);

/// A node, as it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// One life of a process.
    pub id: Uuid,
    /// The machine and the process, for people.
    pub name: String,
    /// The address at which other nodes reach it.
    pub address: String,
    /// The version of its program.
    pub version: String,
    /// Whether it ends, and hands over what it has.
    pub leaves: bool,
    /// The number of its newest heartbeat.
    pub beat: u64,
    /// When that was.
    pub beat_at: Timestamp,
    /// When its first heartbeat was.
    pub since: Timestamp,
    /// By how many milliseconds its clock is ahead of the database's; negative: behind.
    pub ahead_ms: i64,
}

/// A shard's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The shard.
    pub shard: Shard,
    /// The node that owns it; `None` if it is free, or one process owns all shards.
    pub node: Option<Uuid>,
    /// Raised by each owner. Each append checks it.
    pub epoch: i64,
    /// Until when its owner has it, unless it is renewed.
    pub expires_at: Timestamp,
    /// Raised each time that the row is written.
    pub version: i64,
    /// The rows of its log that the tables do not have yet.
    pub behind: u64,
}

/// All nodes and leases, as one statement read them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes {
    /// The database's time.
    pub now: Timestamp,
    /// The nodes of the last day, the oldest first.
    pub nodes: Vec<Node>,
    /// The leases, in the order of their shards.
    pub leases: Vec<Lease>,
}

/// How long a read waits for the tables of shards that other nodes own. A node that has died does not make them, until
/// another one takes its shards over: then a read shows them as they are.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked how far they are.
const LOOK: Duration = Duration::from_millis(10);

/// The tables of shards that other nodes own: a read waits until they have what was appended before it began.
#[derive(Debug, Clone)]
pub(super) struct Others {
    connections: DatabaseConnection,
    owned: Arc<Mutex<BTreeMap<Shard, Tail>>>,
}

impl Others {
    pub(super) const fn new(connections: DatabaseConnection, owned: Arc<Mutex<BTreeMap<Shard, Tail>>>) -> Self {
        Self { connections, owned }
    }

    pub(super) async fn caught_up(&self) -> Result<(), LedgerError> {
        const BEHIND: &str = "SELECT p.shard, l.seq FROM projection p CROSS JOIN LATERAL \
                              (SELECT seq FROM log WHERE log.shard = p.shard ORDER BY seq DESC LIMIT 1) l WHERE l.seq > p.seq";
        let mut behind = self.rows(BEHIND).await?;
        {
            let owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
            behind.retain(|(shard, _)| !owned.contains_key(shard));
        }
        let until = Instant::now() + PATIENCE;
        while !behind.is_empty() && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            let places: BTreeMap<_, _> = self.rows("SELECT shard, seq FROM projection").await?.into_iter().collect();
            behind.retain(|(shard, target)| places.get(shard).is_none_or(|place| place < target));
        }
        Ok(())
    }

    async fn rows(&self, sql: &str) -> Result<Vec<(Shard, i64)>, LedgerError> {
        let rows = self.connections.query_all_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
        rows.iter().map(|row| Ok((Shard(row.try_get_by_index(0)?), row.try_get_by_index(1)?))).collect()
    }
}

impl Ledger {
    /// The condition, in SQL, that the account whose id is in a column is of one of these shards.
    pub(super) fn in_shards(&self, column: &str, shards: &[Shard]) -> String {
        if shards.len() == usize::from(self.shards.count()) {
            return "1 = 1".to_owned();
        }
        let bytes = format!("uuid_send({column})");
        let shards = shards.iter().map(|shard| shard.0.to_string()).collect::<Vec<_>>().join(", ");
        let count = self.shards.count();
        // As `Shards::of` has it. SQLite's ledgers have one shard.
        format!(
            "(get_byte({bytes}, 14) * 256 + get_byte({bytes}, 15)) % {count} IN ({})",
            if shards.is_empty() { "-1" } else { &shards }
        )
    }

    /// The same for the shards that this process owns.
    pub(super) fn in_owned_shards(&self, column: &str) -> String {
        let owned: Vec<_> = self.owned().keys().copied().collect();
        // One that only reads asks for all.
        if self.log.is_none() { "1 = 1".to_owned() } else { self.in_shards(column, &owned) }
    }

    fn of_leases(&self) -> Result<&Pool, LedgerError> {
        self.leases.as_ref().ok_or_else(|| LedgerError::Unusable("this ledger is not shared by nodes".into()))
    }

    /// Writes a node's heartbeat, unless a later one is there; moves the expiry of those of these leases that are still
    /// its, in these epochs; and reads everything. Returns the leases that were renewed, too.
    ///
    /// # Errors
    ///
    /// The database does not answer now, or this ledger has one owner. The outcome is unknown: repeating the call is safe.
    pub async fn beat(
        &self,
        node: &Node,
        keep: &[(Shard, i64)],
        lease_ms: i64,
    ) -> Result<(Nodes, Vec<(Shard, i64)>), LedgerError> {
        let tx = self.of_leases()?.begin().await?;
        let sql = format!(
            "INSERT INTO node (id, name, address, version, leaves, beat, ahead_ms, beat_at, since) \
             VALUES (?, ?, ?, ?, ?, ?, ?, {NOW}, {NOW}) ON CONFLICT (id) DO UPDATE SET leaves = excluded.leaves, \
             beat = excluded.beat, ahead_ms = excluded.ahead_ms, beat_at = excluded.beat_at WHERE node.beat < excluded.beat"
        );
        let beat = i64::try_from(node.beat).unwrap_or(i64::MAX);
        let text = |text: &str| Value::from(text);
        let values = [
            node.id.into(),
            text(&node.name),
            text(&node.address),
            text(&node.version),
            i64::from(node.leaves).into(),
            beat.into(),
            node.ahead_ms.into(),
        ];
        tx.execute_raw(self.statement(&sql, values)).await?;
        let renewed = if keep.is_empty() { Vec::new() } else { self.renew(&tx, node.id, keep, lease_ms).await? };
        let nodes = self.read_nodes(&tx).await?;
        tx.commit().await?;
        Ok((nodes, renewed))
    }

    async fn renew(
        &self,
        tx: &DatabaseTransaction,
        node: Uuid,
        keep: &[(Shard, i64)],
        lease_ms: i64,
    ) -> Result<Vec<(Shard, i64)>, LedgerError> {
        let marks = vec!["(CAST(? AS BIGINT), CAST(? AS BIGINT))"; keep.len()].join(", ");
        // In one order, as a take of another node waits for each row. An append that is under way is not waited for: it may
        // take longer than a lease.
        let sql = format!(
            "UPDATE shard_lease l SET expires_at = {NOW} + ?, version = l.version + 1 FROM \
             (SELECT shard FROM shard_lease WHERE node = ? AND (shard, epoch) IN (VALUES {marks}) ORDER BY shard FOR NO KEY UPDATE) its \
             WHERE l.shard = its.shard RETURNING l.shard, l.epoch"
        );
        let mut values: Vec<Value> = vec![lease_ms.into(), node.into()];
        values.extend(keep.iter().flat_map(|(shard, epoch)| [Value::from(shard.0), Value::from(*epoch)]));
        let rows = tx.query_all_raw(self.statement(&sql, values)).await?;
        rows.iter().map(|row| Ok((Shard(row.try_get_by_index(0)?), row.try_get_by_index(1)?))).collect()
    }

    /// The database's name, by which two nodes tell whether they have the same one.
    ///
    /// # Errors
    ///
    /// The database does not answer now, or this ledger has one owner.
    pub async fn database(&self) -> Result<String, LedgerError> {
        let sql = "SELECT current_database() || '/' || oid || '/' || coalesce(current_schema(), '') FROM pg_database \
                   WHERE datname = current_database()";
        let row = self.of_leases()?.query_one_raw(self.statement(sql, [])).await?;
        Ok(row.ok_or_else(|| LedgerError::Corrupt("the database has no name".into()))?.try_get_by_index(0)?)
    }

    /// Reads all nodes and leases.
    ///
    /// # Errors
    ///
    /// The database does not answer now.
    pub async fn nodes(&self) -> Result<Nodes, LedgerError> {
        let tx = match &self.leases {
            Some(pool) => pool.begin().await?,
            None => self.snapshot().await?,
        };
        let nodes = self.read_nodes(&tx).await?;
        tx.rollback().await?;
        Ok(nodes)
    }

    async fn read_nodes(&self, tx: &DatabaseTransaction) -> Result<Nodes, LedgerError> {
        let now = tx.query_one_raw(self.statement(&format!("SELECT {NOW}"), [])).await?;
        let now = now.ok_or_else(|| LedgerError::Corrupt("no time came back".into()))?.try_get_by_index(0)?;
        let sql = "SELECT id, name, address, version, leaves, beat, beat_at, since, ahead_ms FROM node \
                   WHERE beat_at > ? ORDER BY since, id";
        let nodes = tx.query_all_raw(self.statement(sql, [Value::from(now - KEPT_MS)])).await?;
        let sql = "SELECT s.shard, s.node, s.epoch, s.expires_at, s.version, COALESCE(l.seq - p.seq, 0) FROM shard_lease s \
                   LEFT JOIN projection p ON p.shard = s.shard LEFT JOIN LATERAL \
                   (SELECT seq FROM log WHERE log.shard = s.shard ORDER BY seq DESC LIMIT 1) l ON TRUE ORDER BY s.shard";
        let leases = tx.query_all_raw(self.statement(sql, [])).await?;
        Ok(Nodes {
            now: Timestamp(now),
            nodes: nodes.iter().map(node).collect::<Result<_, _>>()?,
            leases: leases.iter().map(lease).collect::<Result<_, _>>()?,
        })
    }

    /// Makes a node the owner of a shard whose row is still as it was read. Returns the new epoch; `None` if the row has
    /// changed. The other nodes are told.
    ///
    /// # Errors
    ///
    /// The database does not answer now, or this ledger has one owner. The outcome is unknown.
    pub async fn take_shard(&self, node: Uuid, seen: Lease, lease_ms: i64) -> Result<Option<i64>, LedgerError> {
        let tx = self.of_leases()?.begin().await?;
        // An append that is under way is waited for: this owner's first look at the log must find it.
        let lock = "SELECT 1 FROM shard_lease WHERE shard = ? FOR UPDATE";
        tx.execute_raw(self.statement(lock, [seen.shard.0.into()])).await?;
        let sql = format!(
            "UPDATE shard_lease SET node = ?, owner = 'a node', epoch = epoch + 1, expires_at = {NOW} + ?, \
             version = version + 1 WHERE shard = ? AND epoch = ? AND version = ? RETURNING epoch"
        );
        let values: [Value; 5] =
            [node.into(), lease_ms.into(), seen.shard.0.into(), seen.epoch.into(), seen.version.into()];
        let row = tx.query_one_raw(self.statement(&sql, values)).await?;
        let epoch = row.map(|row| row.try_get_by_index(0)).transpose()?;
        self.tell_nodes(&tx).await?;
        tx.commit().await?;
        Ok(epoch)
    }

    /// Gives a shard back that is still a node's, in this epoch. The other nodes are told.
    ///
    /// # Errors
    ///
    /// The database does not answer now, or this ledger has one owner. The outcome is unknown: repeating the call is safe.
    pub async fn release_shard(&self, node: Uuid, shard: Shard, epoch: i64) -> Result<(), LedgerError> {
        let tx = self.of_leases()?.begin().await?;
        let sql = "UPDATE shard_lease SET node = NULL, expires_at = 0, version = version + 1 \
                   WHERE shard = ? AND node = ? AND epoch = ?";
        let values: [Value; 3] = [shard.0.into(), node.into(), epoch.into()];
        tx.execute_raw(self.statement(sql, values)).await?;
        self.tell_nodes(&tx).await?;
        Ok(tx.commit().await?)
    }

    /// Hears from other nodes that leases have changed, until nobody listens any more.
    ///
    /// # Errors
    ///
    /// The database does not answer now: what happened meanwhile was not heard.
    pub async fn hear_nodes(&self, news: &tokio::sync::mpsc::Sender<()>) -> Result<(), LedgerError> {
        let pool = self.of_leases()?.connections().get_postgres_connection_pool();
        let failed = |error: sqlx::Error| LedgerError::Writer(error.to_string());
        let options = pool.connect_options();
        let single = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect_lazy_with((*options).clone());
        let mut listener = sqlx::postgres::PgListener::connect_with(&single).await.map_err(failed)?;
        listener.listen(CHANNEL).await.map_err(failed)?;
        loop {
            let Ok(heard) = tokio::time::timeout(QUIET, listener.recv()).await else {
                // Nobody says that a connection is lost on its way: it is asked whether it is there.
                let asked = tokio::time::timeout(ANSWERS_WITHIN, sqlx::query("SELECT 1").execute(&mut listener)).await;
                asked.map_err(|_| LedgerError::Away("PostgreSQL does not answer".into()))?.map_err(failed)?;
                continue;
            };
            heard.map_err(failed)?;
            // One that waits already says the same.
            if let Err(tokio::sync::mpsc::error::TrySendError::Closed(())) = news.try_send(()) {
                return Ok(());
            }
        }
    }

    /// Tells the nodes when the transaction is committed.
    async fn tell_nodes(&self, tx: &DatabaseTransaction) -> Result<(), LedgerError> {
        tx.execute_raw(self.statement(&format!("NOTIFY {CHANNEL}"), [])).await?;
        Ok(())
    }
}

fn node(row: &QueryResult) -> Result<Node, LedgerError> {
    let (leaves, beat): (i64, i64) = (row.try_get_by_index(4)?, row.try_get_by_index(5)?);
    Ok(Node {
        id: row.try_get_by_index(0)?,
        name: row.try_get_by_index(1)?,
        address: row.try_get_by_index(2)?,
        version: row.try_get_by_index(3)?,
        leaves: leaves != 0,
        beat: beat.unsigned_abs(),
        beat_at: Timestamp(row.try_get_by_index(6)?),
        since: Timestamp(row.try_get_by_index(7)?),
        ahead_ms: row.try_get_by_index(8)?,
    })
}

fn lease(row: &QueryResult) -> Result<Lease, LedgerError> {
    Ok(Lease {
        shard: Shard(row.try_get_by_index(0)?),
        node: row.try_get_by_index(1)?,
        epoch: row.try_get_by_index(2)?,
        expires_at: Timestamp(row.try_get_by_index(3)?),
        version: row.try_get_by_index(4)?,
        behind: u64::try_from(row.try_get_by_index::<i64>(5)?).unwrap_or_default(),
    })
}
