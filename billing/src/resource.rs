//! An account's resources: its keys, saved cards, webhooks and members. Their rows are not a part of the account's state, because
//! an account may have thousands. A change is decided from rows that were read before, and names the account's revision
//! then; the account takes it only if nothing has changed since.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    card::PaymentMethod,
    event::Event,
    ids::{KeyId, PaymentId, PersonId},
    key::ApiKey,
    member::Membership,
    time::Timestamp,
    webhook::Endpoint,
};

/// A resource, as it is after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// A new key.
    KeyOpened(ApiKey),
    /// A key was revoked.
    KeyRevoked {
        /// The key's id.
        id: KeyId,
        /// The public part of its text, by which it is looked up.
        public: String,
        /// When it was revoked.
        at: Timestamp,
    },
    /// A key with limits has other lines at which its owner is told.
    KeyAlerts {
        /// The key's id.
        id: KeyId,
        /// The lines, in percent of each limit.
        percents: Vec<u8>,
    },
    /// The processor's id of the account.
    Customer {
        /// The processor.
        processor: String,
        /// The id.
        reference: String,
    },
    /// A saved card, new or changed.
    Card(PaymentMethod),
    /// The owner saved or chose a card, so that it may be charged automatically again after a dispute.
    CardChosen {
        /// The processor's id of the card.
        reference: String,
        /// When it was chosen.
        at: Timestamp,
    },
    /// The card of a payment that names none.
    PaymentCard {
        /// The payment.
        payment_id: PaymentId,
        /// The processor's id of the card.
        reference: String,
    },
    /// A webhook's endpoint, new or changed.
    Endpoint(Endpoint),
    /// An endpoint was deleted.
    EndpointDeleted(Uuid),
    /// A member, new or in another role.
    Member(Membership),
    /// A person is a member no more.
    MemberLeft(PersonId),
}

/// A change of resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The account's revision when the change was decided.
    pub revision: u64,
    /// The resources that change.
    pub resources: Vec<Resource>,
    /// Events for the owner.
    pub events: Vec<Event>,
}
