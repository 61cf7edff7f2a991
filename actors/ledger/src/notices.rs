//! Letters about events: the events that wait for theirs, which the database notes with each event, and what members want to be
//! told of. All of it stands beside the log. An event waits until its letters wait, in one transaction: whoever dies meanwhile, each is
//! written once.

use std::collections::BTreeMap;

use billing::{
    Timestamp,
    event::EventKind,
    ids::{AccountId, KeyId, PersonId},
    notice::Choice,
};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{
    Ledger, LedgerError,
    people::letters::{self, StoredLetter},
    rows::Cell,
};

/// An event that waits for its letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The account.
    pub account_id: AccountId,
    /// The event.
    pub event_id: Uuid,
    /// Its kind.
    pub kind: EventKind,
    /// When it happened.
    pub at: Timestamp,
    /// Its data: named texts.
    pub data: BTreeMap<String, String>,
}

impl Ledger {
    /// The events of owned accounts whose letters are due, the longest due first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn due_notices(&self, now: Timestamp, limit: u64) -> Result<Vec<Waiting>, LedgerError> {
        let its = self.in_owned_shards("n.account_id");
        let sql = format!(
            "SELECT n.account_id, n.event_id, e.kind, e.at, e.data FROM notice n JOIN account_event e \
             ON e.account_id = n.account_id AND e.id = n.event_id WHERE n.due_at <= ? AND {its} \
             ORDER BY n.due_at, n.account_id, n.event_id LIMIT ?"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.as_owner().rows(&sql, [now.0.into(), limit.into()]).await?.iter().map(waiting).collect()
    }

    /// Keeps the letters about an account's events, and ends the waiting of those: both, or neither. Returns whether that is done:
    /// not where so many letters wait already. Where the events wait no more, somebody has done so before.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn post_notices(
        &self,
        account: AccountId,
        events: &[Uuid],
        letters: &[StoredLetter],
        most: u64,
    ) -> Result<bool, LedgerError> {
        let marks = vec!["?"; events.len()].join(", ");
        let sql = format!("DELETE FROM notice WHERE account_id = ? AND event_id IN ({marks})");
        let post = async {
            let mut tx = self.tables.begin_to_write().await?;
            let ids: Vec<Cell<'_>> = std::iter::once(account.0).chain(events.iter().copied()).map(Cell::from).collect();
            if tx.execute(&sql, ids).await? == 0 {
                return Ok(true);
            }
            for letter in letters {
                if !letters::add(&mut tx, letter, most).await? {
                    return Ok(false);
                }
            }
            tx.commit().await?;
            Ok(true)
        };
        self.standing.unless_broken(post).await
    }

    /// Ends the waiting of all events: whether their letters were sent is not known, nor who would get them.
    pub(super) async fn forget_notices(&self) -> Result<(), LedgerError> {
        self.tables.execute_raw(self.statement("DELETE FROM notice", [])).await?;
        Ok(())
    }

    /// What members of an account have chosen to be told of, by person.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn notice_choices(&self, account: AccountId) -> Result<BTreeMap<PersonId, Choice>, LedgerError> {
        let sql = "SELECT person_id, kinds, key_ids FROM notice_choice WHERE account_id = ?";
        self.rows(sql, [account.0.into()]).await?.iter().map(choice).collect()
    }

    /// Has a member told of this, or of what the role is told where there is no choice.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn choose_notices(
        &self,
        account: AccountId,
        person: PersonId,
        choice: Option<&Choice>,
    ) -> Result<(), LedgerError> {
        let Some(choice) = choice else {
            let sql = "DELETE FROM notice_choice WHERE account_id = ? AND person_id = ?";
            return self.write_beside(sql, [account.0.into(), person.0.into()]).await.map(drop);
        };
        let kinds = choice.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" ");
        let keys = choice.keys.as_ref().map(|keys| keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(" "));
        let sql = "INSERT INTO notice_choice (account_id, person_id, kinds, key_ids) VALUES (?, ?, ?, ?) \
                   ON CONFLICT (account_id, person_id) DO UPDATE SET kinds = excluded.kinds, key_ids = excluded.key_ids";
        self.write_beside(sql, [account.0.into(), person.0.into(), kinds.into(), keys.into()]).await.map(drop)
    }
}

fn waiting(row: &QueryResult) -> Result<Waiting, LedgerError> {
    let data: String = row.try_get_by_index(4)?;
    let corrupt = |error| LedgerError::Corrupt(format!("event: {error}"));
    Ok(Waiting {
        account_id: AccountId(row.try_get_by_index(0)?),
        event_id: row.try_get_by_index(1)?,
        kind: kind(&row.try_get_by_index::<String>(2)?)?,
        at: Timestamp(row.try_get_by_index(3)?),
        data: serde_json::from_str(&data).map_err(corrupt)?,
    })
}

fn kind(name: &str) -> Result<EventKind, LedgerError> {
    EventKind::from_name(name).ok_or_else(|| LedgerError::Corrupt(format!("kind of event {name}")))
}

fn choice(row: &QueryResult) -> Result<(PersonId, Choice), LedgerError> {
    let (kinds, keys): (String, Option<String>) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
    let key = |text: &str| {
        let id = Uuid::parse_str(text).map_err(|_| LedgerError::Corrupt(format!("key {text} of a choice")))?;
        Ok::<_, LedgerError>(KeyId(id))
    };
    let keys = keys.map(|text| text.split_whitespace().map(key).collect::<Result<Vec<_>, _>>()).transpose()?;
    let kinds = kinds.split_whitespace().map(kind).collect::<Result<_, _>>()?;
    Ok((PersonId(row.try_get_by_index(0)?), Choice { kinds, keys }))
}

#[cfg(test)]
mod tests {
    use billing::{account::Header, entry::Transition, event::Event, plan::Plan};

    use super::*;
    use crate::tests::new_ledger;

    /// In the middle of a minute.
    const NOW: Timestamp = Timestamp(1_800_000_030_000);
    const MINUTE: Timestamp = Timestamp(1_800_000_060_000);
    const ACCOUNT: AccountId = AccountId(Uuid::from_u128(1));
    const PERSON: PersonId = PersonId(Uuid::from_u128(7));

    #[tokio::test]
    async fn an_event_waits_for_its_letters_until_they_are_written() {
        let (ledger, _folder) = new_ledger().await;
        ledger.create_account(ACCOUNT, "ada@example.com", Plan::Payg, NOW).await.unwrap();
        let tell = async |subject: &str| {
            let (events, header) = (vec![Event::new(EventKind::LowBalance, subject)], Header::new(Plan::Payg, NOW));
            let transition = Transition { events, ..Transition::unchanged(ACCOUNT, 0, NOW, header) };
            ledger.append_transition(transition, NOW).await.unwrap();
        };
        let due = async |at| ledger.due_notices(at, 10).await.unwrap();
        for subject in ["one", "one", "another"] {
            tell(subject).await;
        }
        assert_eq!(due(MINUTE.plus_ms(-1)).await, [], "the minute goes on");
        let waiting = due(MINUTE).await;
        assert_eq!(waiting.len(), 2, "an event that is repeated waits once: {waiting:?}");
        assert!(waiting.iter().all(|it| it.account_id == ACCOUNT && it.kind == EventKind::LowBalance && it.at == NOW));
        let letter = |number| StoredLetter {
            id: Uuid::from_u128(number),
            reader: "ada".into(),
            sealed: vec![1],
            created_at: NOW,
            expires_at: MINUTE,
            due_at: NOW,
            tries: 0,
        };
        let letters = async || ledger.due_letters(NOW, 10).await.unwrap().len();
        let (two, first) = ([letter(1), letter(2)], [waiting[0].event_id]);
        assert!(!ledger.post_notices(ACCOUNT, &first, &two, 1).await.unwrap(), "there is room for one");
        assert_eq!((letters().await, due(MINUTE).await), (0, waiting.clone()));
        for again in [&two, &[letter(3), letter(4)]] {
            assert!(ledger.post_notices(ACCOUNT, &first, again, 9).await.unwrap());
            assert_eq!((letters().await, due(MINUTE).await), (2, waiting[1..].to_vec()), "written once");
        }
        ledger.forget_notices().await.unwrap();
        assert_eq!(due(MINUTE).await, []);
    }

    #[tokio::test]
    async fn a_choice_is_read_as_it_was_made() {
        let (ledger, _folder) = new_ledger().await;
        let choices = async || ledger.notice_choices(ACCOUNT).await.unwrap();
        assert_eq!(choices().await, BTreeMap::new());
        let some = Choice { kinds: EventKind::ALL.to_vec(), keys: Some(vec![KeyId(Uuid::from_u128(3))]) };
        for choice in [some, Choice::NOTHING, Choice { keys: Some(Vec::new()), ..Choice::NOTHING }] {
            ledger.choose_notices(ACCOUNT, PERSON, Some(&choice)).await.unwrap();
            assert_eq!(choices().await, BTreeMap::from([(PERSON, choice)]));
        }
        ledger.choose_notices(ACCOUNT, PERSON, None).await.unwrap();
        assert_eq!(choices().await, BTreeMap::new());
    }
}
