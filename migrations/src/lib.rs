//! The ledger's schema: one numbered file per change, the same for SQLite and PostgreSQL. Their differences (the type
//! of a UUID, the syntax of a trigger) are in [`dialect`].

use sea_orm_migration::prelude::*;

mod dialect;
mod l0001_log;
mod l0002_checkpoint;
mod m0001_ledger;
mod m0002_plans;
mod m0003_usage_rollup;
mod m0004_cards;
mod m0005_idempotency;
mod m0006_webhooks;
mod m0007_proofs;
mod m0008_reversals;
mod m0009_cache_writes;
mod m0010_addresses;
mod m0011_quantities;
mod m0012_log;
mod m0013_revision;
mod m0014_log_rows;
mod m0015_log_checkpoint;
mod m0016_ends;
mod m0017_kept_responses;
mod m0018_attempts;
mod m0019_parked;
mod m0020_nodes;
mod m0021_clocks;
mod m0022_people;
mod m0023_identities;
mod m0024_notices;
mod m0025_operator;
mod m0026_sessions;
mod m0027_trail;
mod m0028_timings;

/// All migrations of the tables, in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        whole(vec![
            Box::new(m0001_ledger::Migration),
            Box::new(m0002_plans::Migration),
            Box::new(m0003_usage_rollup::Migration),
            Box::new(m0004_cards::Migration),
            Box::new(m0005_idempotency::Migration),
            Box::new(m0006_webhooks::Migration),
            Box::new(m0007_proofs::Migration),
            Box::new(m0008_reversals::Migration),
            Box::new(m0009_cache_writes::Migration),
            Box::new(m0010_addresses::Migration),
            Box::new(m0011_quantities::Migration),
            Box::new(m0012_log::Migration),
            Box::new(m0013_revision::Migration),
            Box::new(m0014_log_rows::Migration),
            Box::new(m0015_log_checkpoint::Migration),
            Box::new(m0016_ends::Migration),
            Box::new(m0017_kept_responses::Migration),
            Box::new(m0018_attempts::Migration),
            Box::new(m0019_parked::Migration),
            Box::new(m0020_nodes::Migration),
            Box::new(m0021_clocks::Migration),
            Box::new(m0022_people::Migration),
            Box::new(m0023_identities::Migration),
            Box::new(m0024_notices::Migration),
            Box::new(m0025_operator::Migration),
            Box::new(m0026_sessions::Migration),
            Box::new(m0027_trail::Migration),
            Box::new(m0028_timings::Migration),
        ])
    }
}

/// The migrations of SQLite's log, which is a file of its own. With PostgreSQL the log is among the tables.
#[derive(Debug)]
pub struct LogMigrator;

#[async_trait::async_trait]
impl MigratorTrait for LogMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        whole(vec![Box::new(l0001_log::Migration), Box::new(l0002_checkpoint::Migration)])
    }

    fn migration_table_name() -> DynIden {
        "log_migrations".into_iden()
    }
}

/// A migration that is applied whole or not at all, with its record, also in SQLite: a process may die meanwhile.
struct Whole(Box<dyn MigrationTrait>);

fn whole(migrations: Vec<Box<dyn MigrationTrait>>) -> Vec<Box<dyn MigrationTrait>> {
    migrations.into_iter().map(|migration| Box::new(Whole(migration)) as Box<dyn MigrationTrait>).collect()
}

impl MigrationName for Whole {
    fn name(&self) -> &str {
        self.0.name()
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Whole {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        self.0.up(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        self.0.down(manager).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
