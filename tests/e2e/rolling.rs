//! Nodes behind nginx, as `config/nginx.conf` has it, are restarted one by one under load: no request fails, though each of
//! them ends while clients ask.

use serde_json::json;

use crate::{
    replacing::{Held, Load, customers},
    support::{free_port, nginx::Nginx, plain, server::Server, socket::Socket, test_ledger::TestLedger},
};

#[tokio::test]
async fn nodes_behind_nginx_are_restarted_one_by_one_and_no_request_fails() {
    let Some(ledger) = TestLedger::postgres() else { return };
    let held = Held::default();
    let provider = held.provider().await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let options = ledger.options().calling(&provider).set("FAREBOX_CLOCK", "system");
        let options = options.set("FAREBOX_LISTEN", &format!("127.0.0.1:{}", free_port()));
        let options = options.set("FAREBOX_CLUSTER__LISTEN", "127.0.0.1:0").set("FAREBOX_CLUSTER__LEASE_SECONDS", "3");
        let options = options.set("FAREBOX_CLUSTER__RENEW_SECONDS", "1").set("FAREBOX_LIMITS__NOTICE_SECONDS", "3");
        let options = options.set("FAREBOX_CLUSTER__SECRET", "what all nodes of the tests know, and nobody else");
        nodes.push(Server::start(options).await);
    }
    let addresses: Vec<_> = nodes.iter().map(|node| plain::address(node.url())).collect();
    let Some(nginx) = Nginx::of_the_cluster(&addresses) else { return };
    let customers = customers(&nodes[0], 4).await;
    let stream = held.stream(&nginx.url(), &customers[0]).await;
    let load = Load::start(&nginx.url(), &customers);
    load.goes_on(20).await;
    for node in &mut nodes {
        node.ask_to_stop();
        load.goes_on(10).await;
        held.goes_on.notify_one();
        assert_eq!(node.wait_for_end().await.code(), Some(0), "{}", node.logs());
        load.goes_on(10).await;
        node.restart().await;
    }
    assert!(stream.await.unwrap().contains("\"cost\""));
    // A live socket passes, too.
    let mut socket = Socket::open(&nginx.url(), &customers[0].key).await;
    socket.send(&json!({"type": "ping"})).await;
    socket.next_of("pong").await;
    load.goes_on(10).await;
    load.end().await;
    nodes[2].admin().assert_audit().await;
}
