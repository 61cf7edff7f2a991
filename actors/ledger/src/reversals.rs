//! Reads of refunds and disputes: those of a payment with everything that decides their effect, unanswered ones, and
//! cards that are no longer charged automatically. Only the journal writes them, with their effects.

use std::collections::BTreeMap;

use billing::{
    Timestamp,
    grant::Grant,
    ids::{AccountId, PaymentId, ReversalId},
    payment::Payment,
    reversal::{Kind, Reversal, State},
};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{
    Ledger, LedgerError,
    load::{self, amount, instant},
};

/// The columns [`reversal`] reads.
const REVERSAL: &str = "payment_id, id, kind, reference, card, amount, state, created_at, changed_at, left_ms";

/// The condition for fees that still pay for their cycles: no dispute is in force, and the fee is not fully reversed,
/// except by reversals from before there were rows.
pub(super) const FEE_PAYS: &str = "p.purpose = 'subscription' AND p.status = 'succeeded' AND (p.reversed < p.amount \
    OR EXISTS (SELECT 1 FROM payment_reversal e WHERE e.payment_id = p.id AND e.kind = 'earlier' \
    AND e.state = 'succeeded')) AND NOT EXISTS (SELECT 1 FROM payment_reversal r WHERE r.payment_id = p.id AND r.kind = 'dispute' \
    AND r.state IN ('open', 'lost'))";

/// A payment with its reversals, as stored.
#[derive(Debug, Clone)]
pub struct StoredPayment {
    /// The payment.
    pub payment: Payment,
    /// The payment's grant, once there is one.
    pub grant: Option<Grant>,
    /// The payment's refunds and disputes.
    pub reversals: Vec<Reversal>,
    /// The time until which other fees pay the plan.
    pub paid_until: Option<Timestamp>,
    /// The account's revision. It was read first: all else may be newer, never older.
    pub revision: Option<u64>,
}

/// A refund requested here, without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// The account.
    pub account_id: AccountId,
    /// The payment.
    pub payment_id: PaymentId,
    /// The refund.
    pub reversal: Reversal,
}

impl Ledger {
    /// A payment's refunds and disputes, oldest first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn reversals(&self, payment: PaymentId) -> Result<Vec<Reversal>, LedgerError> {
        let sql = format!("SELECT {REVERSAL} FROM payment_reversal WHERE payment_id = ? ORDER BY created_at, id");
        self.rows(&sql, [payment.0.into()]).await?.iter().map(reversal).collect()
    }

    /// Finds a payment with everything that decides the effect of its refunds and disputes.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn payment_with_reversals(
        &self,
        account: AccountId,
        id: PaymentId,
    ) -> Result<Option<StoredPayment>, LedgerError> {
        let revision = self.revision(account).await?;
        let Some(payment) = self.payment(account, id).await? else { return Ok(None) };
        let grant = self.grant_of(account, &payment.grant_key()).await?;
        let (reversals, paid_until) = (self.reversals(id).await?, self.paid_until_otherwise(account, id).await?);
        Ok(Some(StoredPayment { payment, grant, reversals, paid_until, revision }))
    }

    /// The time until which an account's plan is paid without one fee: by other fees, or by a cycle that an operator
    /// granted.
    async fn paid_until_otherwise(&self, account: AccountId, but: PaymentId) -> Result<Option<Timestamp>, LedgerError> {
        let sql = format!(
            "SELECT MAX(paid_until) FROM (SELECT p.cycle_end AS paid_until FROM payment p WHERE p.account_id = ? \
             AND p.id <> ? AND {FEE_PAYS} UNION ALL SELECT expires_at FROM credit_grant WHERE account_id = ? \
             AND source = 'plan' AND source_key LIKE 'cycle %') t"
        );
        let row = self.row(&sql, [account.0.into(), but.0.into(), account.0.into()]).await?;
        let until: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
        Ok(until.map(Timestamp))
    }

    /// Refunds requested here without an answer of the processor, oldest first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn unanswered_refunds(&self) -> Result<Vec<Unanswered>, LedgerError> {
        let sql = format!(
            "SELECT account_id, {REVERSAL} FROM payment_reversal WHERE kind = 'refund' AND state = 'pending' \
             AND reference IS NULL AND {} ORDER BY created_at, id",
            self.in_owned_shards("account_id")
        );
        let rows = self.as_owner().rows(&sql, []).await?;
        let unanswered = |row: &QueryResult| {
            let reversal = reversal(row)?;
            let account_id = AccountId(row.try_get("", "account_id")?);
            Ok(Unanswered { account_id, payment_id: reversal.payment_id, reversal })
        };
        rows.iter().map(unanswered).collect()
    }

    /// Whether a card was disputed since its owner last saved or chose it. Such a card is not charged automatically.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn is_disputed(&self, account: AccountId, card: &str) -> Result<bool, LedgerError> {
        let sql = "SELECT 1 FROM payment_reversal r WHERE r.account_id = ? AND r.card = ? AND r.kind = 'dispute' \
                   AND r.state <> 'replaced' AND r.created_at >= COALESCE((SELECT c.at FROM card_choice c \
                   WHERE c.account_id = r.account_id AND c.reference = r.card), -1) LIMIT 1";
        Ok(self.row(sql, [account.0.into(), card.into()]).await?.is_some())
    }

    /// Whether an account's plan runs, so that a fee paid now renews it.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn is_renewal(&self, account: AccountId) -> Result<bool, LedgerError> {
        let sql = "SELECT 1 FROM subscription WHERE account_id = ? AND status IN ('active', 'past_due')";
        Ok(self.row(sql, [account.0.into()]).await?.is_some())
    }
}

/// A refund or a dispute from its row.
pub(super) fn reversal(row: &QueryResult) -> Result<Reversal, LedgerError> {
    let (kind, state): (String, String) = (row.try_get("", "kind")?, row.try_get("", "state")?);
    let (payment_id, id): (Uuid, Uuid) = (row.try_get("", "payment_id")?, row.try_get("", "id")?);
    Ok(Reversal {
        id: ReversalId(id),
        payment_id: PaymentId(payment_id),
        kind: Kind::from_name(&kind).ok_or_else(|| LedgerError::Corrupt(format!("reversal's kind {kind}")))?,
        reference: row.try_get("", "reference")?,
        card: row.try_get("", "card")?,
        amount: amount(row, "amount")?,
        state: State::from_name(&state).ok_or_else(|| LedgerError::Corrupt(format!("reversal's state {state}")))?,
        created_at: Timestamp(row.try_get("", "created_at")?),
        changed_at: instant(row, "changed_at")?,
        left_ms: row.try_get("", "left_ms")?,
    })
}

/// Reads for the reconciliation with the processor.
impl Ledger {
    /// Refunds and disputes of payments begun at or after a time, by payment.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn reversals_since(&self, since: Timestamp) -> Result<BTreeMap<PaymentId, Vec<Reversal>>, LedgerError> {
        let columns = REVERSAL.split(", ").map(|column| format!("r.{column}")).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT {columns} FROM payment_reversal r JOIN payment p ON p.id = r.payment_id WHERE p.created_at >= ?"
        );
        let mut found: BTreeMap<PaymentId, Vec<Reversal>> = BTreeMap::new();
        for row in &self.rows(&sql, [since.0.into()]).await? {
            let row = reversal(row)?;
            found.entry(row.payment_id).or_default().push(row);
        }
        Ok(found)
    }

    /// A page of payments begun at or after a time, by id, after `after`.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn payments_page(
        &self,
        since: Timestamp,
        after: Uuid,
        limit: u64,
    ) -> Result<Vec<(AccountId, Payment)>, LedgerError> {
        let sql = format!(
            "SELECT account_id, {} FROM payment WHERE created_at >= ? AND id > ? ORDER BY id LIMIT ?",
            load::PAYMENT
        );
        let values = [since.0.into(), after.into(), i64::try_from(limit).unwrap_or(i64::MAX).into()];
        let rows = self.rows(&sql, values).await?;
        rows.iter().map(|row| Ok((AccountId(row.try_get("", "account_id")?), load::payment(row)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use billing::{Nanos, account::Header, entry::Transition, grant::Taken, resource::Resource, reversal};
    use migrations::Migrator;
    use sea_orm::{ConnectionTrait, Database};
    use sea_orm_migration::MigratorTrait;

    use super::*;
    use crate::Opening;

    /// A ledger from before reversals had rows: a purchase of $10 of which $4 were reversed (one was left, three were
    /// spent and became debt), and a plan whose first fee of $3 was reversed after its cycle.
    const EARLIER: &[&str] = &[
        "INSERT INTO account (id, email, plan, created_at, clock, subscribed_until, debt, charged, seq) \
         VALUES (X'{1}', 'a@b', 'payg', 0, 10, 4838400005, 3000000000, 9000000000, 5)",
        "INSERT INTO subscription (account_id, status, cancels, method, started_at, failures) \
         VALUES (X'{1}', 'active', 0, 'card', 5, 0)",
        "INSERT INTO batch (id, epoch, at, transitions) VALUES (X'{9}', 1, 0, 1)",
        "INSERT INTO payment (id, account_id, amount, status, method, grant_key, created_at, purpose, reversed, reference, \
         ended_at) VALUES (X'{2}', X'{1}', 10000000000, 'succeeded', 'card', '22222222-2222-2222-2222-222222222222', 1, 'purchase', 4000000000, 'pi_2', 1), \
         (X'{3}', X'{1}', 3000000000, 'succeeded', 'card', '33333333-3333-3333-3333-333333333333', 5, 'subscription', 3000000000, 'pi_3', 5), \
         (X'{4}', X'{1}', 3000000000, 'succeeded', 'card', '44444444-4444-4444-4444-444444444444', 2419200005, 'subscription', 0, 'pi_4', 2419200005)",
        "INSERT INTO credit_grant (id, account_id, source, source_key, paid, created_at, expires_at, funded, available, \
         held, spent, expired, voided) VALUES \
         (X'{2}', X'{1}', 'purchase', '22222222-2222-2222-2222-222222222222', 6000000000, 1, 2419200001, 10000000000, 0, 0, 6000000000, 0, 4000000000), \
         (X'{3}', X'{1}', 'plan', '33333333-3333-3333-3333-333333333333', 0, 5, 2419200005, 5000000000, 0, 0, 0, 5000000000, 0), \
         (X'{4}', X'{1}', 'plan', '44444444-4444-4444-4444-444444444444', 3000000000, 2419200005, 4838400005, 5000000000, 5000000000, 0, 0, 0, 0)",
    ];

    fn id(digit: char) -> Uuid {
        Uuid::parse_str(&digit.to_string().repeat(32)).unwrap()
    }

    #[tokio::test]
    async fn what_was_reversed_before_there_were_rows_is_kept_as_one_row_a_payment() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/ledger.db?mode=rwc", folder.path().display());
        let before = Database::connect(&url).await.unwrap();
        Migrator::up(&before, Some(6)).await.unwrap();
        for sql in EARLIER {
            let sql = ('1'..='9').fold((*sql).to_owned(), |sql, digit| {
                sql.replace(&format!("{{{digit}}}"), &digit.to_string().repeat(32))
            });
            before.execute_unprepared(&sql).await.unwrap();
        }
        before.close().await.unwrap();

        let ledger = Ledger::open(&url, &Opening::default()).await.unwrap();
        let account = AccountId(id('1'));
        let stored = ledger.payment_with_reversals(account, PaymentId(id('2'))).await.unwrap().unwrap();
        let kept = stored.reversals.as_slice();
        assert_eq!((kept[0].kind, kept[0].state, kept[0].amount), (Kind::Earlier, State::Succeeded, Nanos::dollars(4)));
        assert_eq!(reversal::reversed(kept, stored.payment.amount), stored.payment.reversed);
        let grant = stored.grant.unwrap();
        assert_eq!(grant.taken, Taken { unused: Nanos::dollars(4), ..Taken::default() });
        grant.assert_sound();

        let first = ledger.payment_with_reversals(account, PaymentId(id('3'))).await.unwrap().unwrap();
        assert_eq!(first.grant.unwrap().taken, Taken { gone: Nanos::dollars(5), ..Taken::default() });
        let last = ledger.payment_with_reversals(account, PaymentId(id('4'))).await.unwrap().unwrap();
        let until = Some(Timestamp(4_838_400_005));
        assert_eq!((first.payment.cycle_end, first.paid_until), (Some(Timestamp(2_419_200_005)), until));
        let first_pays = first.payment.cycle_end;
        assert_eq!(
            (last.payment.cycle_end, last.paid_until),
            (until, first_pays),
            "what came back then ended no cycle"
        );
        let audit = ledger.audit().await.unwrap();
        let of_payments = |violation: &&super::super::audit::Violation| [11, 12, 17].contains(&violation.invariant);
        assert_eq!(audit.violations.iter().find(of_payments), None);
    }

    async fn choose(ledger: &Ledger, account: AccountId, at: i64) {
        let at = Timestamp(at);
        let unchanged = Transition::unchanged(account, 0, at, Header::new(billing::plan::Plan::Free, at));
        let resources = vec![Resource::CardChosen { reference: "pm_1".into(), at }];
        ledger.append_transition(Transition { resources, ..unchanged }, at).await.unwrap();
    }

    #[tokio::test]
    async fn a_card_is_disputed_until_its_owner_chooses_it_again() {
        let (ledger, _folder) = super::super::tests::new_ledger().await;
        let account = AccountId(id('1'));
        ledger.create_account(account, "a@b", billing::plan::Plan::Free, Timestamp(0)).await.unwrap();
        let rows = [
            "INSERT INTO payment (id, account_id, amount, status, method, grant_key, created_at, purpose) \
             VALUES (?, ?, 1, 'succeeded', 'pm_1', 'one', 5, 'purchase')",
            "INSERT INTO payment_reversal (payment_id, id, account_id, kind, card, amount, state, created_at, left_ms) \
             SELECT p.id, p.id, p.account_id, 'dispute', 'pm_1', 1, 'won', 7, 0 FROM payment p WHERE p.id = ? AND \
             p.account_id = ?",
        ];
        assert!(!ledger.is_disputed(account, "pm_1").await.unwrap());
        for sql in rows {
            ledger.write.execute_raw(ledger.statement(sql, [id('2').into(), id('1').into()])).await.unwrap();
        }
        assert!(ledger.is_disputed(account, "pm_1").await.unwrap(), "also when it was won");
        assert!(!ledger.is_disputed(account, "pm_2").await.unwrap());
        choose(&ledger, account, 6).await;
        assert!(ledger.is_disputed(account, "pm_1").await.unwrap(), "chosen before it was disputed");
        choose(&ledger, account, 8).await;
        assert!(!ledger.is_disputed(account, "pm_1").await.unwrap());
    }
}
