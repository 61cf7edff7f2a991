//! The keys that a member made, as the membership ends: they end with it, or go on where that is said.

use reqwest::Method;
use serde_json::json;

use crate::support::{
    client::{Customer, answer},
    people::{Visitor, person},
    server::{Options, Server},
};

/// An account with an owner, and a developer who has made three keys: on the page, by a script, and with the second one.
async fn stage() -> (Server, Customer, Visitor, Visitor, [String; 3]) {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("payg", "5").await;
    let owner = person(&server, "ada@example.com", Some((&customer.id, "owner"))).await;
    let mut bob = person(&server, "bob@example.com", Some((&customer.id, "developer"))).await;
    let once = bob.once("/keys").await;
    let shown = bob.send("/keys", &[("once", &once), ("name", "by form")]).await.body;
    let by_form = shown.split("fb_").nth(1).unwrap().chars().take_while(|c| c.is_alphanumeric() || *c == '_');
    let by_form = format!("fb_{}", by_form.collect::<String>());
    let by_script = bob.call(Method::POST, "/v1/keys", &json!({"name": "by script"})).await.ok();
    let by_script = by_script["key"].as_str().unwrap().to_owned();
    let by_key = server.api(&by_script).post("/v1/keys", &json!({"name": "by key"})).await.ok();
    let made = [by_form, by_script, by_key["key"].as_str().unwrap().to_owned()];
    for key in &made {
        assert_eq!(server.api(key).get("/v1/balance").await.status, 200);
    }
    (server, customer, owner, bob, made)
}

async fn id_of(server: &Server, customer: &Customer, email: &str) -> String {
    let members = server.admin().0.get(&format!("/admin/v1/accounts/{}/members", customer.id)).await.ok();
    let found = members["data"].as_array().unwrap().iter().find(|member| member["email"] == email);
    found.unwrap()["person_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn keys_end_with_the_membership_of_who_made_them() {
    let (mut server, customer, mut owner, mut bob, made) = stage().await;
    let page = owner.get("/members").await.body;
    assert!(page.contains("revoke keys") && page.contains("value=\"revoke\" selected"), "{page}");
    let theirs = owner.call(Method::POST, "/v1/keys", &json!({"name": "ada's"})).await.ok();
    let (theirs, bob_id) = (theirs["key"].as_str().unwrap(), id_of(&server, &customer, "bob@example.com").await);
    let wrong = owner.send(&format!("/members/{bob_id}/remove"), &[("keys", "burn")]).await;
    assert!(wrong.status == 400 && wrong.body.contains("revoke or keep"), "{}", wrong.body);
    assert_eq!(owner.send(&format!("/members/{bob_id}/remove"), &[]).await.status, 303);
    for key in &made {
        assert_eq!(server.api(key).get("/v1/balance").await.status, 401, "at once");
    }
    // Others' keys and what an operator made go on.
    assert_eq!(server.api(theirs).get("/v1/balance").await.status, 200);
    assert_eq!(customer.api.get("/v1/balance").await.status, 200);
    assert!(owner.get("/members").await.body.contains("3 keys were revoked with it."));
    let told = customer.api.get("/v1/events?kind=member_left").await.ok();
    assert_eq!(told["data"][0]["data"]["keys_revoked"], "3", "{told}");
    assert_eq!(bob.call(Method::POST, "/v1/keys", &json!({"name": "late"})).await.status, 403);
    server.admin().assert_audit().await;
    server.restart().await;
    assert_eq!(server.api(&made[0]).get("/v1/balance").await.status, 401);
}

#[tokio::test]
async fn keys_that_may_more_than_a_lesser_role_end_with_the_change() {
    let (server, customer, mut owner, mut bob, made) = stage().await;
    let bob_id = id_of(&server, &customer, "bob@example.com").await;
    let wanted = json!({"name": "for looking", "scopes": ["read"]});
    let reads = bob.call(Method::POST, "/v1/keys", &wanted).await.ok()["key"].as_str().unwrap().to_owned();
    let change = async |owner: &mut Visitor, role: &str, keys: &str| {
        let sent = owner.send(&format!("/members/{bob_id}/role"), &[("role", role), ("keys", keys)]).await;
        assert_eq!(sent.status, 303, "{}", sent.body);
    };
    // An owner may do all that a developer may.
    change(&mut owner, "owner", "revoke").await;
    change(&mut owner, "developer", "revoke").await;
    change(&mut owner, "billing", "keep").await;
    for key in &made {
        assert_eq!(server.api(key).get("/v1/balance").await.status, 200);
    }
    change(&mut owner, "reader", "revoke").await;
    for key in &made {
        assert_eq!(server.api(key).get("/v1/balance").await.status, 401, "at once");
    }
    assert_eq!(server.api(&reads).get("/v1/balance").await.status, 200, "a reader may read");
    assert_eq!(customer.api.get("/v1/balance").await.status, 200);
    let told = customer.api.get("/v1/events?kind=member_role_changed").await.ok();
    let counts: Vec<_> = told["data"].as_array().unwrap().iter().map(|event| &event["data"]["keys_revoked"]).collect();
    assert_eq!(counts, ["3", "0", "0", "0"], "{told}");
    assert!(owner.get("/members").await.body.contains("3 keys were revoked with it."));
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn keys_go_on_where_that_is_said_and_end_as_their_maker_is_forgotten() {
    let (server, customer, mut owner, _bob, made) = stage().await;
    let bob_id = id_of(&server, &customer, "bob@example.com").await;
    assert_eq!(owner.send(&format!("/members/{bob_id}/remove"), &[("keys", "keep")]).await.status, 303);
    for key in &made {
        assert_eq!(server.api(key).get("/v1/balance").await.status, 200);
    }
    // Another developer, whom an operator forgets.
    let mut carl = person(&server, "carl@example.com", Some((&customer.id, "developer"))).await;
    let key =
        carl.call(Method::POST, "/v1/keys", &json!({"name": "carl's"})).await.ok()["key"].as_str().unwrap().to_owned();
    let forget = async |query: &str| {
        answer(server.admin().0.request(Method::DELETE, &format!("/admin/v1/people/carl@example.com{query}"))).await
    };
    assert_eq!(forget("?keys=burn").await.status, 400);
    assert_eq!(server.api(&key).get("/v1/balance").await.status, 200);
    let forgotten = forget("?keys=revoke").await.ok();
    assert_eq!((&forgotten["forgotten"], &forgotten["keys_revoked"]), (&json!(true), &json!(1)), "{forgotten}");
    assert_eq!(server.api(&key).get("/v1/balance").await.status, 401);
    server.admin().assert_audit().await;
}
