//! What people need beside a password: identities at issuers elsewhere (OpenID Connect), whose each API key is that a member
//! made, and letters that wait to be sent. All of it stands beside the log, as people do.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const STATEMENTS: &[&str] = &[
    // An issuer's name for somebody never becomes another's; an address does. `email` is what the issuer told when it was linked.
    "CREATE TABLE person_identity (
        id {uuid} PRIMARY KEY,
        person_id {uuid} NOT NULL,
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        email TEXT,
        linked_at BIGINT NOT NULL,
        used_at BIGINT NOT NULL,
        UNIQUE (issuer, subject)
    )",
    "CREATE INDEX person_identity_person ON person_identity (person_id)",
    // Which member made an API key. Of keys that operators made, or that are older than this, there is no row.
    "CREATE TABLE key_maker (
        key_id {uuid} PRIMARY KEY,
        account_id {uuid} NOT NULL,
        person_id {uuid} NOT NULL,
        made_at BIGINT NOT NULL
    )",
    "CREATE INDEX key_maker_person ON key_maker (person_id, account_id)",
    // A letter that waits, sealed: of its reader there is a hash. It is whose who claims it until `due_at`.
    "CREATE TABLE letter (
        id {uuid} PRIMARY KEY,
        reader TEXT NOT NULL,
        sealed {bytes} NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        due_at BIGINT NOT NULL,
        tries BIGINT NOT NULL
    )",
    "CREATE INDEX letter_due ON letter (due_at, id)",
    // The issuer, as the settings call it, by whose word a session has begun.
    "ALTER TABLE person_session ADD COLUMN issuer TEXT",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, STATEMENTS).await
    }
}
