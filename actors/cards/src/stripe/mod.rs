//! Stripe: the few endpoints that are needed, form-encoded, of one pinned version. A POST carries an idempotency key, so
//! that asking again after a lost answer does nothing twice. A charge is told declined only when its
//! intent is canceled: nothing declined can be paid later.

mod exchange;
mod format;

use std::{fmt, sync::Arc};

use billing::{
    Timestamp,
    card::Card,
    ids::{AccountId, PaymentId},
    reversal::{Listing, News},
};
use serde::de::DeserializeOwned;

use crate::{
    charge::{CardError, ChargeOutcome, Order, RefundOrder, Refunded, Setup, to_cents},
    finding::{Finding, ProcessorRecord, Statement, Subject},
    webhook::is_reference,
};
use exchange::{Api, Fault, Fields};
use format::{Dispute, Expandable, Intent, List, Named, NotUnderstood, Refund, SetupIntent, Standing, unknown};

/// Stripe's address.
pub const ADDRESS: &str = "https://api.stripe.com";
/// The address of Stripe's script for browsers.
pub const SCRIPT: &str = "https://js.stripe.com/v3/";
/// How many Stripe lists at once, at most, and how many pages are read of one list.
const PAGE: &str = "100";
const MOST_PAGES: usize = 10_000;

/// Stripe's address and secrets.
pub struct StripeSettings {
    /// The address up to and without the version: `https://api.stripe.com`.
    pub base_url: String,
    /// The API key.
    pub secret_key: String,
    /// The secret that signs webhooks.
    pub webhook_secret: String,
    /// How browsers speak with Stripe; `None` where they don't.
    pub browser: Option<Browser>,
}

/// How the browser of a card's owner speaks with Stripe itself (Stripe's reference "Stripe.js").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Browser {
    /// The key that anybody may know.
    pub publishable_key: String,
    /// The address of Stripe's script.
    pub script: String,
}

struct Inner {
    api: Api,
    base_url: String,
    webhook_secret: String,
    browser: Option<Browser>,
}

/// The processor, shared by clones.
#[derive(Clone)]
pub struct Stripe(Arc<Inner>);

impl fmt::Debug for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripe").field("base_url", &self.0.base_url).finish_non_exhaustive()
    }
}

impl Stripe {
    /// Stripe, opened with these.
    ///
    /// # Errors
    ///
    /// Where nothing can be called at all.
    pub fn new(settings: StripeSettings) -> Result<Self, CardError> {
        let StripeSettings { base_url, secret_key, webhook_secret, browser } = settings;
        let api = Api::new(&base_url, secret_key)?;
        Ok(Self(Arc::new(Inner { api, base_url, webhook_secret, browser })))
    }

    /// How browsers speak with Stripe.
    pub fn browser(&self) -> Option<&Browser> {
        self.0.browser.as_ref()
    }

    /// The address of Stripe's API.
    pub fn base_url(&self) -> &str {
        &self.0.base_url
    }

    /// The secret that signs webhooks.
    pub fn webhook_secret(&self) -> &str {
        &self.0.webhook_secret
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        self.0.api.get(path, &[]).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, fields: Fields<'_>, key: &str) -> Result<T, Fault> {
        self.0.api.post(path, fields, key).await
    }

    async fn intent(&self, id: &str) -> Result<Intent, Fault> {
        self.get(&format!("payment_intents/{id}")).await
    }

    /// Charges a saved card without its owner's presence.
    pub(super) async fn charge(&self, order: &Order) -> ChargeOutcome {
        let Some(cents) = to_cents(order.amount) else {
            return ChargeOutcome::Declined { code: "amount_not_in_cents".into() };
        };
        let Some(customer) = &order.customer else {
            return ChargeOutcome::Declined { code: "no_such_card".into() };
        };
        let (cents, payment, account) = (cents.to_string(), order.payment_id.to_string(), order.account_id.to_string());
        let fields = [
            ("amount", cents.as_str()),
            ("currency", "usd"),
            ("customer", customer),
            ("payment_method", &order.method),
            ("payment_method_types[]", "card"),
            ("off_session", "true"),
            ("confirm", "true"),
            ("description", "Farebox credits"),
            ("metadata[payment_id]", &payment),
            ("metadata[account_id]", &account),
        ];
        match self.post::<Intent>("payment_intents", &fields, &payment).await {
            // A repeated call gets the first call's answer, whatever happened since: the intent's state is fetched.
            Ok(intent) => self.look(&intent.id).await,
            Err(Fault::Unknown(why)) => unknown(why),
            Err(Fault::Refused { kind, error }) => match &error.payment_intent {
                Some(intent) => self.look(&intent.id).await,
                // The key was used with other parameters: the result of the earlier call is looked up.
                None if kind == "idempotency_error" => match self.find(order.payment_id).await {
                    Ok(Some(outcome)) => outcome,
                    Ok(None) => unknown(error.message.clone()),
                    Err(why) => unknown(why.to_string()),
                },
                None => {
                    tracing::error!(payment.id = %order.payment_id, message = error.message, "Stripe refused a charge");
                    ChargeOutcome::Declined { code: error.reason() }
                }
            },
        }
    }

    /// Fetches a charge's state. A failed charge is canceled first, so that it stays failed.
    pub(super) async fn look(&self, reference: &str) -> ChargeOutcome {
        if !is_reference(reference) {
            return unknown("that is no PaymentIntent's id".into());
        }
        match self.intent(reference).await {
            Ok(intent) => self.stand(&intent).await,
            Err(fault) => unknown(CardError::from(fault).to_string()),
        }
    }

    async fn stand(&self, intent: &Intent) -> ChargeOutcome {
        match intent.standing() {
            Standing::Is(outcome) => outcome,
            Standing::Failed(reason) => match self.cancel(&intent.id).await {
                ChargeOutcome::Declined { .. } => ChargeOutcome::Declined { code: reason },
                other => other,
            },
        }
    }

    /// Cancels a charge, unless it has succeeded.
    pub(super) async fn cancel(&self, reference: &str) -> ChargeOutcome {
        let key = format!("cancel-{reference}");
        let fields = [("cancellation_reason", "abandoned")];
        match self.post::<Intent>(&format!("payment_intents/{reference}/cancel"), &fields, &key).await {
            Ok(intent) => match intent.standing() {
                Standing::Is(outcome) => outcome,
                Standing::Failed(reason) => unknown(format!("{reference} was not canceled ({reason})")),
            },
            Err(Fault::Unknown(why)) => unknown(why),
            // The intent can't be canceled, so it has ended already.
            Err(Fault::Refused { .. }) => match self.intent(reference).await.map(|intent| intent.standing()) {
                Ok(Standing::Is(outcome)) => outcome,
                Ok(Standing::Failed(reason)) => unknown(format!("{reference} can't be canceled ({reason})")),
                Err(fault) => unknown(CardError::from(fault).to_string()),
            },
        }
    }

    /// Looks a charge up by its payment. Stripe's search lags by up to a minute; look-ups come much later than that.
    pub(super) async fn find(&self, payment: PaymentId) -> Result<Option<ChargeOutcome>, CardError> {
        let query = format!("metadata[\"payment_id\"]:\"{payment}\"");
        let fields = [("query", query.as_str()), ("limit", "10")];
        let found: List<Intent> = self.0.api.get("payment_intents/search", &fields).await?;
        // Every call carried the same key, so there is one; were there more, a paid one counts.
        let mine = || found.data.iter().filter(|intent| intent.payment_id() == Some(payment));
        let chosen = mine().find(|intent| intent.status == "succeeded").or_else(|| mine().next());
        match chosen {
            Some(intent) => Ok(Some(self.look(&intent.id).await)),
            None => Ok(None),
        }
    }

    /// Gives money back.
    pub(super) async fn refund(&self, order: &RefundOrder) -> Refunded {
        let Some(cents) = to_cents(order.amount) else {
            let (code, message) = ("amount_not_in_cents".into(), "a refund is of whole cents".into());
            return Refunded::Refused { code, message };
        };
        let (cents, id) = (cents.to_string(), order.id.map(|id| id.to_string()));
        let mut fields = vec![("payment_intent", order.reference.as_str()), ("amount", cents.as_str())];
        fields.extend(id.as_deref().map(|id| ("metadata[refund_id]", id)));
        match self.post::<Refund>("refunds", &fields, &format!("refund-{}", order.key)).await {
            Ok(refund) => made(&refund),
            Err(Fault::Unknown(why)) => Refunded::Unknown { why },
            // The key was used with other parameters: the result of the earlier call is looked up.
            Err(Fault::Refused { kind, error }) if kind == "idempotency_error" => match self.find_refund(order).await {
                Ok(Some(found)) => found,
                Ok(None) => Refunded::Unknown { why: error.message },
                Err(why) => Refunded::Unknown { why: why.to_string() },
            },
            Err(Fault::Refused { error, .. }) => Refunded::Refused { code: error.reason(), message: error.message },
        }
    }

    /// Looks a refund up among the refunds of its charge.
    pub(super) async fn find_refund(&self, order: &RefundOrder) -> Result<Option<Refunded>, CardError> {
        if !is_reference(&order.reference) {
            return Err(refused("resource_missing", "that is no PaymentIntent's id"));
        }
        let refunds: Vec<Refund> = self.list("refunds", &[("payment_intent", &order.reference)]).await?;
        Ok(refunds.iter().find(|refund| refund.is_own(order.id)).map(made))
    }

    /// All entries of a list, page by page.
    async fn list<T: DeserializeOwned + Listed>(&self, path: &str, fields: Fields<'_>) -> Result<Vec<T>, CardError> {
        let mut all: Vec<T> = Vec::new();
        for _ in 0..MOST_PAGES {
            let mut fields = fields.to_vec();
            fields.push(("limit", PAGE));
            let last = all.last().map(|last| last.id().to_owned());
            fields.extend(last.as_deref().map(|last| ("starting_after", last)));
            let page: List<T> = self.0.api.get(path, &fields).await?;
            let is_last = !page.has_more || page.data.is_empty();
            all.extend(page.data);
            if is_last {
                return Ok(all);
            }
        }
        Err(CardError::Unavailable(format!("Stripe lists more than {MOST_PAGES} pages of {path}")))
    }

    /// Fetches the state of the object that an event is about. The charge comes first, because the event of a refund or
    /// a dispute may arrive before the charge's own.
    pub(super) async fn fetch(&self, subject: &Subject) -> Result<Vec<Finding>, CardError> {
        let (reference, dispute) = match subject {
            Subject::Other => return Ok(Vec::new()),
            Subject::Charge(reference) | Subject::Refund(reference) => (reference.clone(), None),
            Subject::Dispute(reference) => {
                let dispute: Dispute = self.get(&format!("disputes/{reference}")).await?;
                let Some(charged) = dispute.payment_intent.clone() else { return Ok(Vec::new()) };
                (charged, Some(dispute))
            }
        };
        if !is_reference(&reference) {
            return Err(refused("resource_missing", "that is no PaymentIntent's id"));
        }
        let intent = self.intent(&reference).await?;
        let Some(payment_id) = intent.payment_id() else { return Ok(Vec::new()) };
        let mut found = vec![ProcessorRecord::Charge(self.stand(&intent).await)];
        if !matches!(subject, Subject::Charge(_)) {
            found.push(ProcessorRecord::Reversals(self.reversals(&intent.id, dispute.as_ref()).await?, Listing::All));
        }
        Ok(found.into_iter().map(|record| Finding { payment_id, record }).collect())
    }

    /// All refunds and disputes of a charge, and a dispute that was fetched by itself.
    async fn reversals(&self, intent: &str, dispute: Option<&Dispute>) -> Result<Vec<News>, CardError> {
        let of_it = [("payment_intent", intent)];
        let is_of_it = |of: Option<&str>| of.is_none_or(|of| of == intent);
        let refunds: Vec<Refund> = self.list("refunds", &of_it).await?;
        let disputes: Vec<Dispute> = self.list("disputes", &of_it).await?;
        let mut news = Vec::new();
        for refund in refunds.iter().filter(|refund| is_of_it(refund.payment_intent.as_deref())) {
            news.push(refund.news()?);
        }
        for dispute in disputes.iter().filter(|it| is_of_it(it.payment_intent.as_deref())).chain(dispute) {
            news.extend(dispute.news()?);
        }
        Ok(news)
    }

    /// All charges, refunds and disputes since a time, as far as they belong to payments of this gateway.
    pub(super) async fn statement(&self, since: Timestamp) -> Result<Statement, CardError> {
        let since = (since.0.max(0) / 1_000).to_string();
        let made_since = [("created[gte]", since.as_str())];
        let intents: Vec<Intent> = self.list("payment_intents", &made_since).await?;
        let refunds: Vec<Refund> = self.list("refunds", &made_since).await?;
        let disputes: Vec<Dispute> = self.list("disputes", &made_since).await?;
        let mut reversals = Vec::new();
        for refund in &refunds {
            if let Some(intent) = &refund.payment_intent {
                reversals.push((intent.clone(), refund.news()?));
            }
        }
        for dispute in &disputes {
            if let (Some(intent), Some(news)) = (&dispute.payment_intent, dispute.news()?) {
                reversals.push((intent.clone(), news));
            }
        }
        Ok(Statement { charges: intents.iter().filter_map(Intent::listed).collect(), reversals, remembers_since: None })
    }

    /// Makes an account known to Stripe.
    pub(super) async fn create_customer(&self, account: AccountId, email: &str) -> Result<String, CardError> {
        let id = account.to_string();
        let fields = [("email", email), ("metadata[account_id]", id.as_str())];
        let customer: Named = self.post("customers", &fields, &format!("customer-{id}")).await?;
        Ok(customer.id)
    }

    /// Begins to save a card of a customer. The owner's browser sends the card number to Stripe, never to this gateway.
    ///
    /// # Errors
    ///
    /// `Unavailable` where Stripe did not answer: repeat the call with the same key. `Refused` where Stripe does not
    /// know the customer, or returns no client secret.
    pub async fn begin_setup(&self, customer: &str, account: AccountId, key: &str) -> Result<Setup, CardError> {
        let id = account.to_string();
        let fields = [
            ("customer", customer),
            ("usage", "off_session"),
            ("payment_method_types[]", "card"),
            ("metadata[account_id]", &id),
        ];
        let setup: SetupIntent = self.post("setup_intents", &fields, key).await?;
        let client_secret = setup.client_secret.ok_or_else(|| refused("no_client_secret", "no client secret came"))?;
        Ok(Setup { reference: setup.id, client_secret })
    }

    /// Fetches the card of a finished setup.
    ///
    /// # Errors
    ///
    /// `Refused` where the setup is not this customer's, is not finished, or holds no card; the code tells the cases
    /// apart. `Unavailable` where Stripe did not answer: ask again.
    pub async fn finish_setup(&self, reference: &str, customer: &str) -> Result<Card, CardError> {
        let missing = || refused("resource_missing", "there is no such setup of yours");
        if !is_reference(reference) {
            return Err(missing());
        }
        let setup: SetupIntent = self.get(&format!("setup_intents/{reference}?expand[]=payment_method")).await?;
        if setup.customer.as_deref() != Some(customer) {
            return Err(missing());
        }
        match (setup.status.as_str(), setup.payment_method) {
            ("succeeded", Some(Expandable::Object(method))) => method
                .into_card(customer.to_owned())
                .ok_or_else(|| refused("not_a_card", "what was set up is no card that can be charged")),
            (status, _) => Err(refused("setup_not_finished", &format!("the setup is {status}, not succeeded"))),
        }
    }

    /// Detaches a card from its customer.
    pub(super) async fn detach(&self, reference: &str) -> Result<(), CardError> {
        let path = format!("payment_methods/{reference}/detach");
        match self.post::<Named>(&path, &[], &format!("detach-{reference}")).await {
            // A refusal means that the card is gone already.
            Ok(_) | Err(Fault::Refused { .. }) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }
}

fn refused(code: &str, message: &str) -> CardError {
    CardError::Refused { code: code.to_owned(), message: message.to_owned() }
}

fn made(refund: &Refund) -> Refunded {
    match refund.state() {
        Ok(state) => Refunded::Made { reference: refund.id.clone(), state },
        Err(NotUnderstood(why)) => Refunded::Unknown { why },
    }
}

impl From<NotUnderstood> for CardError {
    fn from(NotUnderstood(why): NotUnderstood) -> Self {
        // Until the object is understood, nothing is concluded from it: the caller looks again later.
        Self::Unavailable(why)
    }
}

/// An entry of a paged list: each page begins after the last entry of the page before.
trait Listed {
    fn id(&self) -> &str;
}

impl Listed for Intent {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Listed for Refund {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Listed for Dispute {
    fn id(&self) -> &str {
        &self.id
    }
}

#[cfg(test)]
mod tests;
