//! Forms whose ids make things: an id is one account's alone, and what it makes is made once.

use serde_json::Value;

use crate::support::{
    client::Customer,
    pages::{Visitor, client, hidden},
    server::{Options, Server},
};

async fn by_key<'a>(server: &'a Server, key: &str) -> Visitor<'a> {
    let signed = client().post(format!("{}/dashboard/sign-in", server.url())).form(&[("key", key)]);
    Visitor::signed_in(server, "/dashboard", signed.send().await.unwrap(), &[], "").await
}

async fn list(customer: &Customer, path: &str) -> Vec<Value> {
    customer.api.get(path).await.ok()["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_form_of_one_account_buys_and_makes_nothing_for_another() {
    let server = Server::start(Options::default()).await;
    let (ada, eve) = (server.admin().customer("payg", "5").await, server.admin().customer("payg", "5").await);
    let (owner, thief) = (by_key(&server, &ada.key).await, by_key(&server, &eve.key).await);
    let once = hidden(&owner.get("/credits").await.body, "once");
    let buy = [("once", &*once), ("amount", "10"), ("card", "pm_card_visa")];
    assert_eq!(owner.send("/credits/buy", &buy).await.status, 303);
    let bought = list(&ada, "/v1/payments").await;
    // The id of her payment, of a made-up one, and of none.
    for id in [&*once, &uuid::Uuid::now_v7().to_string(), &uuid::Uuid::nil().to_string()] {
        let refused = thief.send("/credits/buy", &[("once", id), ("amount", "10"), ("card", "pm_card_visa")]).await;
        assert!(refused.status == 400 && refused.body.contains("once: "), "{}: {}", refused.status, refused.body);
        let card = thief.send("/credits/cards", &[("once", id), ("card", "pm_card_visa")]).await;
        assert_eq!(card.status, 400, "{}", card.body);
        let key = thief.send("/keys", &[("once", id), ("name", "mine")]).await;
        assert_eq!(key.status, 400, "{}", key.body);
    }
    assert_eq!(eve.api.get("/v1/balance").await.ok()["available"], "10.00");
    assert!(list(&eve, "/v1/payments").await.is_empty() && list(&eve, "/v1/payment-methods").await.is_empty());
    assert_eq!(list(&eve, "/v1/keys").await.len(), 1);
    assert_eq!(list(&ada, "/v1/payments").await, bought, "hers is as it was");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_form_that_makes_a_key_makes_one() {
    let server = Server::start(Options::default()).await;
    let ada = server.admin().customer("payg", "5").await;
    let owner = by_key(&server, &ada.key).await;
    let once = hidden(&owner.get("/keys").await.body, "once");
    let make = [("once", &*once), ("name", "laptop")];
    let (one, two) = tokio::join!(owner.send("/keys", &make), owner.send("/keys", &make));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{} {}", one.body, two.body);
    let again = owner.send("/keys", &make).await;
    assert!(again.status == 409 && again.body.contains("role=\"alert\""), "{}", again.body);
    assert_eq!(list(&ada, "/v1/keys").await.len(), 2, "the first key, and one");
    assert_eq!(ada.api.get("/v1/balance").await.status, 200);
    // A saved card, too.
    let once = hidden(&owner.get("/credits").await.body, "once");
    for card in ["pm_card_visa", "pm_card_mastercard"] {
        owner.send("/credits/cards", &[("once", &once), ("card", card)]).await;
    }
    let saved = list(&ada, "/v1/payment-methods").await;
    assert!(saved.len() == 1 && saved[0]["brand"] == "visa", "{saved:?}");
    server.admin().assert_audit().await;
}
