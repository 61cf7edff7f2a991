//! What several nodes cost while nothing moves: one request at another node than its account's, one account beside many, and
//! many accounts at three nodes beside one on the same cores.

use crate::{
    Stage,
    contest::{CROWD_EVERY, Contender, Contest, Turns, wake},
    load::Target,
    nodes::Nodes,
    redis,
};

const DOLLARS: &str = "1000";
const ACCOUNTS: usize = 60;
const CONNECTIONS: usize = 64;

fn turns(stage: &Stage, connections: usize) -> Turns {
    Turns { count: stage.options.turns(), lasting: stage.options.lasting(), connections }
}

/// What it adds that an account is at another node: one connection, to its own node and to another one in turn.
pub(crate) async fn forward(stage: &Stage) {
    let nodes = Nodes::start(stage, "three", 3).await;
    let key = nodes.account_of(0, DOLLARS).await;
    let at = |place: usize| Target { urls: vec![nodes.urls().swap_remove(place)], keys: vec![key.clone()] };
    let contenders = vec![nodes.contender("at its own node", at(0)), nodes.contender("at another node", at(1))];
    let contest = Contest::hold(contenders, turns(stage, 1)).await;
    contest.print();
    contest.print_added(1, 0);
    nodes.audit().await;
}

/// One busy account at three nodes, while many others are idle or send a request now and then.
pub(crate) async fn hot(stage: &Stage) {
    let nodes = Nodes::start(stage, "three", 3).await;
    let hot = nodes.accounts(1, DOLLARS).await;
    let others = nodes.accounts(stage.options.crowd, DOLLARS).await;
    wake(&others).await;
    let idle = nodes.contender("others idle", hot.clone());
    let busy = Contender { crowd: Some(others), ..nodes.contender("others now and then", hot) };
    println!("  {} others: one request each in {} s", stage.options.crowd, CROWD_EVERY.as_secs());
    let contest = Contest::hold(vec![idle, busy], turns(stage, CONNECTIONS)).await;
    contest.print();
    contest.print_ratio(1, 0);
    nodes.audit().await;
}

/// Many accounts: three nodes and one node, and a process without nodes, all on the same cores.
pub(crate) async fn three(stage: &Stage) {
    let alone = Nodes::alone(stage, "process");
    let (one, three) = (Nodes::start(stage, "one", 1).await, Nodes::start(stage, "three", 3).await);
    let mut contenders = Vec::new();
    for (name, nodes) in [("one process", &alone), ("one node", &one), ("three nodes", &three)] {
        contenders.push(nodes.contender(name, nodes.accounts(ACCOUNTS, DOLLARS).await));
    }
    let contest = Contest::hold(contenders, turns(stage, CONNECTIONS)).await;
    contest.print();
    contest.print_ratio(2, 1);
    contest.print_ratio(1, 0);
    three.audit().await;
}

/// Three nodes with Redis, and three whose Redis is gone.
pub(crate) async fn without_redis(stage: &Stage) {
    if stage.redis.is_none() {
        return;
    }
    let with = Nodes::start(stage, "with", 3).await;
    let without = Nodes::start_with(stage, "without", 3, Some(redis::nowhere())).await;
    let mut contenders = Vec::new();
    for (name, nodes) in [("with Redis", &with), ("Redis is gone", &without)] {
        contenders.push(nodes.contender(name, nodes.accounts(ACCOUNTS, DOLLARS).await));
    }
    let contest = Contest::hold(contenders, turns(stage, CONNECTIONS)).await;
    contest.print();
    contest.print_ratio(1, 0);
    without.audit().await;
}
