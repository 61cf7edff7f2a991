//! Transitions that form 7 is for. The golden body was made of these, so they never change.

use billing::{
    entry::{Transition, UsageRecord},
    event::EventKind,
    hold::Hold,
    ids::{AccountId, KeyId},
    resource::Resource,
    session::Session,
    webhook::Endpoint,
};

use super::examples::{NOW, admission, id, settlement, unchanged};

/// A request that names a session, and a webhook for the events of one key: what form 7 is for.
pub(in crate::log::body) fn sessions() -> Vec<Transition> {
    let session = Session::new("ses_0199c0de").ok();
    let hold = admission().hold.map(|hold| Hold { session: session.clone(), ..hold });
    let usage = settlement().usage.map(|usage| UsageRecord { session, ..usage });
    let endpoint = |keys| Endpoint {
        id: id(58),
        account_id: AccountId(id(1)),
        url: "https://example.com/".into(),
        description: String::new(),
        secret: "whsec_3".into(),
        kinds: Some(vec![EventKind::KeyLimitNear]),
        keys: Some(keys),
        created_at: NOW,
        disabled: None,
    };
    let told = |keys| Transition { resources: vec![Resource::Endpoint(endpoint(keys))], ..unchanged(51) };
    vec![
        Transition { hold, ..admission() },
        Transition { usage, ..settlement() },
        told(vec![KeyId(id(61)), KeyId(id(62))]),
        told(Vec::new()),
    ]
}
