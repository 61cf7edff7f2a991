//! Names that may be taken once: an address, an operator's action, the key of a grant, the id of a payment. The log can't
//! refuse a row for its content, so a name is looked up before its transition becomes a part of the log: among the
//! transitions that the tables do not have yet, and then in the tables.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::BuildHasher,
    sync::Arc,
};

use billing::{
    entry::{LineKind, Transition},
    grant::Source,
    ids::{AccountId, GrantId, KeyId, PaymentId, RequestId},
    payment::PaymentStatus,
    resource::Resource,
    soundness,
};

use super::{Ledger, LedgerError};

/// A name that a transition takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Claim {
    /// The id of a new account.
    Account(AccountId),
    /// The email address of a new account, in lower case.
    Address(String),
    /// The proof that a request was carried out.
    Proof(RequestId),
    /// A grant, by its account, its source and its key.
    Grant(AccountId, Source, Arc<str>),
    /// The id of a new grant.
    GrantId(GrantId),
    /// The id of a new payment. The tables write payments by their ids alone: another account's would be overwritten.
    Payment(PaymentId),
    /// The id of a new key.
    Key(KeyId),
    /// The public part of a new key.
    Public(String),
}

impl Claim {
    /// The claim in words, to stand before "is taken already".
    const fn words(&self) -> &'static str {
        match self {
            Self::Account(_) => "that account's id",
            Self::Address(_) => "that email address",
            Self::Proof(_) => "that request's proof",
            Self::Grant(..) => "that grant's key",
            Self::GrantId(_) => "that grant's id",
            Self::Payment(_) => "that payment's id",
            Self::Key(_) | Self::Public(_) => "that API key",
        }
    }
}

/// The names that a transition takes.
pub fn of(transition: &Transition) -> Vec<Claim> {
    let mut claims = Vec::new();
    if let Some(opened) = &transition.opened {
        claims.extend([Claim::Account(transition.account_id), Claim::Address(opened.email.to_lowercase())]);
    }
    claims.extend(transition.proof.iter().map(|proof| Claim::Proof(proof.request_id)));
    let funded = transition.lines.iter().filter(|line| line.kind == LineKind::GrantFunded);
    for line in funded {
        let Some(grant) = transition.grants.iter().find(|grant| Some(grant.id) == line.grant_id) else { continue };
        let by_key = Claim::Grant(transition.account_id, grant.source, Arc::clone(&grant.source_key));
        claims.extend([by_key, Claim::GrantId(grant.id)]);
    }
    // A payment is written as pending once, when it begins.
    let begun = transition.payments.iter().filter(|payment| payment.status == PaymentStatus::Pending);
    claims.extend(begun.map(|payment| Claim::Payment(payment.id)));
    for resource in &transition.resources {
        if let Resource::KeyOpened(key) = resource {
            claims.extend([Claim::Key(key.id), Claim::Public(key.public.clone())]);
        }
    }
    claims
}

/// The names taken by rows of the log that the tables may not have yet.
#[derive(Debug, Default)]
pub struct Claims {
    by_append: BTreeMap<u64, Vec<Claim>>,
    taken: HashSet<Claim>,
}

impl Claims {
    /// Forgets the names of appends up to `projected`, which the tables have.
    pub fn forget(&mut self, projected: u64) {
        while let Some(append) = self.by_append.first_entry().filter(|append| *append.key() <= projected) {
            for claim in append.remove() {
                self.taken.remove(&claim);
            }
        }
    }

    /// Notes the names that a row of the log takes, which was appended by this number.
    pub fn take(&mut self, number: u64, transitions: &[Transition]) {
        let claims: Vec<Claim> = transitions.iter().flat_map(of).collect();
        if !claims.is_empty() {
            self.taken.extend(claims.iter().cloned());
            self.by_append.entry(number).or_default().extend(claims);
        }
    }

    /// Whether a row of the log takes a name.
    fn has(&self, claim: &Claim) -> bool {
        self.taken.contains(claim)
    }
}

/// The accounts of a batch whose transitions may not become a part of the log, each with the reason: they take a name that
/// is taken, or break a rule of money. Of two accounts that take the same name in one batch, the second is refused.
/// `unprojected` has the names of all rows that the tables may not have, `tabled` those names of the batch that the tables
/// have.
pub fn refused(
    transitions: &[Transition],
    unprojected: &Claims,
    tabled: &HashSet<Claim, impl BuildHasher>,
) -> HashMap<AccountId, String> {
    let (mut refused, mut here) = (HashMap::new(), HashSet::new());
    for transition in transitions {
        for claim in of(transition) {
            if here.contains(&claim) || unprojected.has(&claim) || tabled.contains(&claim) {
                refused.insert(transition.account_id, LedgerError::Taken(claim.words()).to_string());
            }
            here.insert(claim);
        }
        refused.extend(soundness::fault(transition).map(|why| (transition.account_id, why)));
    }
    refused
}

impl Ledger {
    /// Those names of a batch that the tables have. The tables may be behind the log.
    ///
    /// # Errors
    ///
    /// The tables can't be read now: nothing of the batch may be written.
    pub async fn tabled(&self, transitions: &[Transition]) -> Result<HashSet<Claim>, LedgerError> {
        let mut tabled = HashSet::new();
        for claim in transitions.iter().flat_map(of) {
            if self.is_claimed(&claim).await? {
                tabled.insert(claim);
            }
        }
        Ok(tabled)
    }

    /// Whether the tables have a name. They may be behind the log.
    async fn is_claimed(&self, claim: &Claim) -> Result<bool, LedgerError> {
        let statement = match claim {
            Claim::Account(id) => self.statement("SELECT 1 FROM account WHERE id = ?", [id.0.into()]),
            Claim::Address(address) => {
                let sql = "SELECT 1 FROM account WHERE email = ? OR (lower(email) = ? AND twin = 0)";
                self.statement(sql, [address.as_str().into(), address.as_str().into()])
            }
            Claim::Proof(request) => {
                let sql = "SELECT 1 FROM audit_log WHERE id = ? UNION ALL SELECT 1 FROM request_proof WHERE id = ?";
                self.statement(sql, [request.0.into(), request.0.into()])
            }
            Claim::Grant(account, source, key) => {
                let sql = "SELECT 1 FROM credit_grant WHERE account_id = ? AND source = ? AND source_key = ?";
                self.statement(sql, [account.0.into(), source.name().into(), (&**key).into()])
            }
            Claim::GrantId(id) => self.statement("SELECT 1 FROM credit_grant WHERE id = ?", [id.0.into()]),
            Claim::Payment(id) => self.statement("SELECT 1 FROM payment WHERE id = ?", [id.0.into()]),
            Claim::Key(id) => self.statement("SELECT 1 FROM api_key WHERE id = ?", [id.0.into()]),
            Claim::Public(public) => self.statement("SELECT 1 FROM api_key WHERE public = ?", [public.as_str().into()]),
        };
        Ok(self.as_they_are.query_one_raw(statement).await?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use billing::{
        Nanos, Timestamp,
        account::Header,
        entry::{Opened, Proof},
        payment::{Payment, Purpose},
        plan::Plan,
    };
    use uuid::Uuid;

    use super::*;
    use crate::tests::new_ledger;

    fn id(number: u128) -> AccountId {
        AccountId(Uuid::from_u128(number))
    }

    fn opened(account: u128, email: &str) -> Transition {
        let header = Header::new(Plan::Free, Timestamp(0));
        let opened = Some(Opened { email: email.to_owned() });
        Transition { opened, ..Transition::unchanged(id(account), 0, Timestamp(0), header) }
    }

    fn proven(account: u128, request: u128) -> Transition {
        let request_id = RequestId(Uuid::from_u128(request));
        let proof = Proof { request_id, act: "grant".into(), subject: String::new(), amount: None, reason: None };
        let header = Header::new(Plan::Free, Timestamp(0));
        Transition { proof: Some(proof), ..Transition::unchanged(id(account), 0, Timestamp(0), header) }
    }

    fn refused_of(batch: &[Transition], unprojected: &Claims) -> Vec<AccountId> {
        let mut refused: Vec<_> = refused(batch, unprojected, &HashSet::new()).into_keys().collect();
        refused.sort_unstable();
        refused
    }

    #[test]
    fn a_name_is_taken_once_however_it_is_spelled() {
        let none = Claims::default();
        assert!(refused_of(&[opened(1, "a@b.org"), opened(2, "c@b.org"), proven(3, 7)], &none).is_empty());
        assert_eq!(refused_of(&[opened(1, "a@b.org"), opened(2, "A@b.org")], &none), [id(2)]);
        assert_eq!(refused_of(&[proven(1, 7), proven(1, 8), proven(2, 7)], &none), [id(2)]);
    }

    #[test]
    fn a_payment_that_begins_takes_its_id_from_all_accounts_and_ends_freely() {
        let begun = |account, status| {
            let paid = Payment {
                status,
                ..Payment::new(
                    PaymentId(Uuid::from_u128(7)),
                    Purpose::Purchase,
                    Nanos::new(1),
                    "card".into(),
                    Timestamp(0),
                )
            };
            let header = Header::new(Plan::Free, Timestamp(0));
            Transition { payments: vec![paid], ..Transition::unchanged(id(account), 0, Timestamp(0), header) }
        };
        let (pending, paid) = (PaymentStatus::Pending, PaymentStatus::Succeeded);
        assert_eq!(refused_of(&[begun(1, pending), begun(1, paid)], &Claims::default()), []);
        assert_eq!(refused_of(&[begun(1, pending), begun(2, pending)], &Claims::default()), [id(2)]);
        let mut claims = Claims::default();
        claims.take(4, &[begun(1, pending)]);
        assert_eq!(refused_of(&[begun(2, pending)], &claims), [id(2)]);
        assert_eq!(refused_of(&[begun(1, paid)], &claims), []);
    }

    #[test]
    fn names_of_rows_are_known_until_the_tables_have_them() {
        let mut claims = Claims::default();
        claims.take(4, &[proven(1, 7)]);
        claims.take(5, &[opened(2, "a@b.org")]);
        let batch = [proven(3, 7), opened(4, "a@b.org")];
        claims.forget(3);
        assert_eq!(refused_of(&batch, &claims), [id(3), id(4)]);
        claims.forget(4);
        assert_eq!(refused_of(&batch, &claims), [id(4)]);
        claims.forget(5);
        assert!(refused_of(&batch, &claims).is_empty());
    }

    #[test]
    fn what_breaks_a_rule_of_money_is_refused_with_its_account() {
        let mut wrong = proven(1, 7);
        wrong.header.debt = Nanos::new(-1);
        assert_eq!(refused_of(&[wrong, proven(2, 8)], &Claims::default()), [id(1)]);
    }

    #[tokio::test]
    async fn the_tables_know_the_names_that_they_have() {
        let (ledger, _folder) = new_ledger().await;
        ledger.create_account(id(1), "a@b.org", Plan::Free, Timestamp(0)).await.unwrap();
        let batch = [opened(1, "new@b.org"), opened(2, "A@b.org"), opened(3, "c@b.org"), proven(3, 7)];
        let tabled = ledger.tabled(&batch).await.unwrap();
        assert_eq!(tabled, HashSet::from([Claim::Account(id(1)), Claim::Address("a@b.org".into())]));
    }
}
