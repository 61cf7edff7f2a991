//! The capacity model: a simulation that is held against what was measured (`docs/scaling.json`, which `make scaling` writes).
//! Nothing is timed here.

#![expect(clippy::unwrap_used, reason = "a test that cannot read what was measured has failed")]

mod measured;
mod model;

use measured::Measured;
use model::{Demands, Setting, run};

const DEMANDS: Demands = Demands {
    path: 600.0,
    wait: 100.0,
    behind: 0.0,
    append: 500.0,
    batch: 150.0,
    forward: 200.0,
    link: 60.0,
    hop: 300.0,
};
/// How near the model must be.
const WITHIN: f64 = 0.2;

fn measured() -> Measured {
    serde_json::from_str(include_str!("../../docs/scaling.json")).unwrap()
}

#[test]
fn the_model_predicts_what_was_measured() {
    let measured = measured();
    if !measured.is_calm() {
        // The page says that it was measured on a busy machine.
        assert!(measured.tables().contains("busy with something else"));
        return;
    }
    let far: Vec<String> = measured
        .predicted()
        .into_iter()
        .filter(|(point, outcome)| {
            let is_near = |ratio: f64| (1.0 - WITHIN..=1.0 + WITHIN).contains(&ratio);
            !(is_near(outcome.rate / point.rate) && is_near(outcome.p50 / point.p50))
        })
        .map(|(point, outcome)| format!("{point:?}: {outcome:?}"))
        .collect();
    assert!(far.is_empty(), "{:?}\n{}", measured.demands(), far.join("\n"));
}

#[test]
fn the_page_has_what_was_measured() {
    let page = include_str!("../../docs/scaling.md");
    let whole = measured().put_into(page).unwrap();
    assert!(page == whole, "docs/scaling.md has other tables than docs/scaling.json makes: `make scaling`");
}

#[test]
fn one_client_waits_for_nothing_but_its_own_work() {
    let outcome = run(DEMANDS, Setting { cores: 2, nodes: 1, clients: 1 }, 7);
    let each = 600.0 + 100.0 + 2.0 * 500.0;
    let expected = 1e6 / each;
    assert!((outcome.rate / expected - 1.0).abs() < 0.02, "{outcome:?} of {expected}");
}

#[test]
fn many_clients_are_as_fast_as_the_cores_and_share_batches() {
    let setting = Setting { cores: 2, nodes: 1, clients: 500 };
    let outcome = run(DEMANDS, setting, 7);
    // Batches are shared by so many that they hardly count.
    let most = 2.0 * 1e6 / 600.0;
    assert!(outcome.rate < most && outcome.rate > 0.9 * most, "{outcome:?} of {most}");
    let twice = run(DEMANDS, Setting { cores: 4, ..setting }, 7);
    assert!(twice.rate > 1.8 * outcome.rate, "{twice:?}");
    // A client more waits for all the others.
    let clients: f64 = 500.0;
    let waits = clients / outcome.rate * 1e3;
    assert!((outcome.p50 / waits - 1.0).abs() < 0.1, "{outcome:?}, {waits} ms");
}

#[test]
fn nodes_cost_what_forwards_and_their_own_batches_cost() {
    let [one, three] = [1, 3].map(|nodes| run(DEMANDS, Setting { cores: 2, nodes, clients: 300 }, 7));
    let free = Demands { forward: 0.0, link: 0.0, hop: 0.0, ..DEMANDS };
    let without = run(free, Setting { cores: 2, nodes: 3, clients: 300 }, 7);
    assert!(three.rate < without.rate && without.rate <= one.rate * 1.02, "{one:?} {three:?} {without:?}");
    let slower = 600.0 / (600.0 + 200.0 * 2.0 / 3.0);
    assert!((three.rate / without.rate / slower - 1.0).abs() < 0.1, "{three:?} {without:?}");
}

#[test]
fn a_seed_says_the_same_each_time_and_seeds_agree() {
    let setting = Setting { cores: 2, nodes: 3, clients: 64 };
    let outcome = run(DEMANDS, setting, 1);
    assert_eq!(outcome, run(DEMANDS, setting, 1));
    let other = run(DEMANDS, setting, 2);
    assert_ne!(outcome, other);
    assert!((outcome.rate / other.rate - 1.0).abs() < 0.05, "{outcome:?} {other:?}");
}

#[test]
fn demands_are_found_again_from_what_they_make() {
    let point = |nodes: usize, clients: usize| {
        let setting = Setting { cores: 2, nodes, clients };
        let outcome = run(DEMANDS, setting, 3);
        let batches = 2.0 / f64::from(u32::try_from(clients).unwrap());
        let forward = if nodes == 1 { 0.0 } else { (200.0 + batches * 60.0) * 2.0 / 3.0 };
        measured::Point {
            nodes,
            clients,
            rate: outcome.rate,
            p50: outcome.p50,
            p99: outcome.p50,
            node: 300.0 + batches * 150.0 + forward,
            postgres: 200.0,
            others: 100.0,
            redis: 0.0,
            commands: 0.0,
            elsewhere: 0.0,
            batches,
            append: 0.5,
            statements: 3.0,
            rows: 5.0,
            wal: 2_000.0,
        }
    };
    let measured = Measured {
        build: "debug".into(),
        cores: 2,
        points: vec![point(1, 1), point(1, 16), point(1, 256), point(3, 1), point(3, 64)],
    };
    let found = measured.demands();
    assert!(found.behind < 1.0, "{found:?}");
    for (found, given) in [
        (found.path, 600.0),
        (found.wait, 100.0),
        (found.append, 500.0),
        (found.batch, 150.0),
        (found.forward, 200.0),
        (found.link, 60.0),
        (found.hop, 300.0),
    ] {
        assert!((found / given - 1.0_f64).abs() < 0.1, "{:?}", measured.demands());
    }
}

#[test]
fn what_nobody_waits_for_takes_cores_alone() {
    let demands = Demands { path: 400.0, behind: 200.0, ..DEMANDS };
    let [one, many] = [1, 500].map(|clients| run(demands, Setting { cores: 2, nodes: 1, clients }, 7));
    let each = 400.0 + 100.0 + 2.0 * 500.0;
    assert!((one.rate * each / 1e6 - 1.0).abs() < 0.03, "{one:?}");
    assert!(many.rate > 0.9 * 2.0 * 1e6 / 600.0 && many.rate < 2.0 * 1e6 / 600.0, "{many:?}");
}
