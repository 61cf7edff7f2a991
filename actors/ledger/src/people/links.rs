//! Links that are mailed to people, each good once and for a while. The link's token is known to its reader alone: here stands
//! its hash.

use billing::{
    Timestamp,
    ids::{AccountId, PersonId},
    member::Role,
};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::role;
use crate::{Ledger, LedgerError, transaction::Transaction};

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To become a person, with an account.
    SignUp,
    /// To set another password.
    Reset,
    /// To become a member of an account, in a role.
    Invite {
        /// The account.
        account_id: AccountId,
        /// The role.
        role: Role,
        /// The member who invites; an operator, where there is none.
        by: Option<PersonId>,
    },
    /// Nothing. It is written where there is no reader, so that the same is done for every address.
    Nothing,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::SignUp => "sign_up",
            Self::Reset => "reset",
            Self::Invite { .. } => "invite",
            Self::Nothing => "none",
        }
    }
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLink {
    /// The hash of its token.
    pub hash: String,
    /// Its id, which is no secret.
    pub id: Uuid,
    /// What it is for.
    pub purpose: Purpose,
    /// The address that it is mailed to.
    pub email: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

const LINK: &str = "hash, id, purpose, email, account_id, role, created_at, expires_at, invited_by";

impl Ledger {
    /// Keeps a link. Those that have ended are forgotten, and those to the same address for the same end: the newest is good.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn add_link(&self, link: &StoredLink) -> Result<(), LedgerError> {
        let add = async {
            let (account, role, by) = match link.purpose {
                Purpose::Invite { account_id, role, by } => (Some(account_id.0), Some(role.name()), by.map(|id| id.0)),
                Purpose::SignUp | Purpose::Reset | Purpose::Nothing => (None, None, None),
            };
            let mut tx = self.tables.begin_to_write().await?;
            tx.execute("DELETE FROM person_link WHERE expires_at <= ?", [link.created_at.0.into()]).await?;
            let (email, purpose) = (link.email.as_str(), link.purpose.name());
            // An id of none is nobody's.
            let same =
                "DELETE FROM person_link WHERE email = ? AND purpose = ? AND (account_id IS NULL OR account_id = ?)";
            tx.execute(same, [email.into(), purpose.into(), account.unwrap_or_default().into()]).await?;
            let sql = "INSERT INTO person_link (hash, id, purpose, email, account_id, role, invited_by, created_at, expires_at) \
                       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
            let values = [
                link.hash.as_str().into(),
                link.id.into(),
                purpose.into(),
                email.into(),
                account.into(),
                role.into(),
                by.into(),
                link.created_at.0.into(),
                link.expires_at.0.into(),
            ];
            tx.execute(sql, values).await?;
            tx.commit().await
        };
        self.standing.unless_broken(add).await
    }

    /// The link whose token has this hash, unless it has ended or was used.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn link(&self, hash: &str, now: Timestamp) -> Result<Option<StoredLink>, LedgerError> {
        let sql = format!("SELECT {LINK} FROM person_link WHERE hash = ? AND expires_at > ?");
        self.beside(&sql, [hash.into(), now.0.into()]).await?.as_ref().map(link).transpose()
    }

    /// The invitations to an account that are open, newest first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn invitations(&self, account: AccountId, now: Timestamp) -> Result<Vec<StoredLink>, LedgerError> {
        let sql = format!(
            "SELECT {LINK} FROM person_link WHERE account_id = ? AND expires_at > ? ORDER BY created_at DESC, id LIMIT 200"
        );
        self.rows(&sql, [account.0.into(), now.0.into()]).await?.iter().map(link).collect()
    }

    /// Uses a link up. Returns whether it was good.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn use_link(&self, hash: &str, now: Timestamp) -> Result<bool, LedgerError> {
        let using = async {
            let mut tx = self.tables.begin_to_write().await?;
            let is_good = use_up(&mut tx, hash, now).await?;
            tx.commit().await?;
            Ok(is_good)
        };
        self.standing.unless_broken(using).await
    }

    /// Takes an invitation to an account back. Returns whether it was open.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn withdraw(&self, account: AccountId, id: Uuid) -> Result<bool, LedgerError> {
        let sql = "DELETE FROM person_link WHERE account_id = ? AND id = ?";
        Ok(self.write_beside(sql, [account.0.into(), id.into()]).await? == 1)
    }

    /// Takes all invitations back by which a member has invited to an account.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn withdraw_of(&self, account: AccountId, by: PersonId) -> Result<(), LedgerError> {
        let sql = "DELETE FROM person_link WHERE account_id = ? AND invited_by = ?";
        self.write_beside(sql, [account.0.into(), by.0.into()]).await.map(drop)
    }
}

/// Uses a link up in a transaction: of two at once, one finds it.
pub(super) async fn use_up(tx: &mut Transaction, hash: &str, now: Timestamp) -> Result<bool, LedgerError> {
    let sql = "DELETE FROM person_link WHERE hash = ? AND expires_at > ?";
    Ok(tx.execute(sql, [hash.into(), now.0.into()]).await? == 1)
}

fn link(row: &QueryResult) -> Result<StoredLink, LedgerError> {
    let purpose: String = row.try_get_by_index(2)?;
    let invited = (row.try_get_by_index::<Option<Uuid>>(4)?, row.try_get_by_index::<Option<String>>(5)?);
    Ok(StoredLink {
        hash: row.try_get_by_index(0)?,
        id: row.try_get_by_index(1)?,
        purpose: match (purpose.as_str(), invited) {
            ("sign_up", _) => Purpose::SignUp,
            ("reset", _) => Purpose::Reset,
            ("invite", (Some(account), Some(name))) => Purpose::Invite {
                account_id: AccountId(account),
                role: role(&name)?,
                by: row.try_get_by_index::<Option<Uuid>>(8)?.map(PersonId),
            },
            ("none", _) => Purpose::Nothing,
            _ => return Err(LedgerError::Corrupt(format!("a link for {purpose}"))),
        },
        email: row.try_get_by_index(3)?,
        created_at: Timestamp(row.try_get_by_index(6)?),
        expires_at: Timestamp(row.try_get_by_index(7)?),
    })
}
