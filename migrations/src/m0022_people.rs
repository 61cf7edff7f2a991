//! People, who sign in. They stand beside the log: of what is in the log nothing is ever forgotten, and a person may ask for
//! that. The log has who is a member of which account, by ids that say nothing of a person.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const TABLES: &[&str] = &[
    // `password` is a hash in PHC's form; none: whoever has no password signs in otherwise.
    "CREATE TABLE person (
        id {uuid} PRIMARY KEY,
        email TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        password TEXT,
        verified_at BIGINT NOT NULL,
        created_at BIGINT NOT NULL,
        disabled_at BIGINT
    )",
    // Of tokens there are hashes. The one before the last rotation is good until `previous_until`.
    "CREATE TABLE person_session (
        id {uuid} PRIMARY KEY,
        person_id {uuid} NOT NULL,
        account_id {uuid},
        hash TEXT NOT NULL,
        previous TEXT,
        previous_until BIGINT,
        device TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        rotated_at BIGINT NOT NULL,
        seen_at BIGINT NOT NULL,
        ends_at BIGINT NOT NULL,
        CHECK ((previous IS NULL) = (previous_until IS NULL))
    )",
    "CREATE INDEX person_session_person ON person_session (person_id, created_at)",
    "CREATE INDEX person_session_end ON person_session (ends_at)",
    // A link that was mailed, good once. One that invites names the account and the role, and the
    // member who invites.
    "CREATE TABLE person_link (
        hash TEXT PRIMARY KEY,
        id {uuid} NOT NULL UNIQUE,
        purpose TEXT NOT NULL CHECK (purpose = 'sign_up' OR purpose = 'reset' OR purpose = 'invite' OR purpose = 'none'),
        email TEXT NOT NULL,
        account_id {uuid},
        role TEXT,
        invited_by {uuid},
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        CHECK ((account_id IS NULL) = (role IS NULL))
    )",
    "CREATE INDEX person_link_email ON person_link (email)",
    "CREATE INDEX person_link_account ON person_link (account_id, created_at)",
    "CREATE INDEX person_link_end ON person_link (expires_at)",
    // Made from the log. Of the person it knows the id alone.
    "CREATE TABLE membership (
        account_id {uuid} NOT NULL REFERENCES account (id),
        person_id {uuid} NOT NULL,
        role TEXT NOT NULL CHECK (role = 'owner' OR role = 'billing' OR role = 'developer' OR role = 'reader'),
        since BIGINT NOT NULL,
        PRIMARY KEY (account_id, person_id)
    )",
    "CREATE INDEX membership_person ON membership (person_id, account_id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, TABLES).await
    }
}
