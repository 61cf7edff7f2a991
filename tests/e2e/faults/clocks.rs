//! Clocks that are wrong: one that is set while its node runs moves nothing, a node that starts with a wrong one is refused,
//! and one whose clock has drifted leaves its accounts to those whose clocks are right.

use std::{fs, path::PathBuf};

use serde_json::json;

use crate::support::{
    cluster::{Cluster, Outcome, chat},
    free_port,
    proxy::Proxy,
    server::Options,
    skip, temporary,
};

/// A file by which the wall clock of whoever is started with it can be set.
struct WallClock {
    library: PathBuf,
    file: PathBuf,
}

impl WallClock {
    /// It shows the right time; `None` where Debian's package `faketime` is not installed.
    fn right() -> Option<Self> {
        let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let library =
            folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.exists());
        let Some(library) = library else {
            skip("faketime is not installed, and tests/setup.sh could not install it");
            return None;
        };
        let clock = Self { library, file: temporary("clock") };
        clock.set("+0");
        Some(clock)
    }

    /// Sets it by so much, such as `+3600`.
    fn set(&self, by: &str) {
        fs::write(&self.file, by).unwrap();
    }

    fn variables(&self) -> [(&'static str, String); 5] {
        let path = |path: &PathBuf| path.display().to_string();
        [
            ("LD_PRELOAD", path(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", path(&self.file)),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    fn of(&self, options: Options) -> Options {
        self.variables().iter().fold(options, |options, (name, value)| options.set(name, value))
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_by_an_hour_moves_nothing_and_a_start_with_it_is_refused() {
    let Some(clock) = WallClock::right() else { return };
    let Some(mut cluster) = Cluster::of(1).await else { return };
    cluster.join_with(|options| clock.of(options)).await;
    cluster.is_even().await;
    let mut patrons = cluster.patrons(6).await;
    for patron in &patrons {
        // An hour too far, and it would be gone.
        let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 1_800;
        let grant = json!({"source": "promo", "amount": "1", "reason": "test", "expires_at": soon * 1_000});
        let path = format!("/admin/v1/accounts/{}/grants", patron.id);
        cluster.nodes[0].admin().0.post(&path, &grant).await.ok();
    }
    for by in ["+3600", "-3600"] {
        clock.set(by);
        // Longer than a sweep and a heartbeat take.
        tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
        for patron in &mut patrons {
            for node in 0..2 {
                cluster.chat(patron, node).await;
            }
        }
        assert_eq!(cluster.nodes[1].server.get("/readyz").await.status, 200, "{}", cluster.nodes[1].logs());
    }
    assert_eq!(cluster.number("SELECT COUNT(*) FROM journal WHERE kind = 'grant_expired'"), 0, "credits expired early");
    let written = "SELECT COUNT(*) FROM usage_record WHERE ABS(ended_at - extract(epoch FROM now()) * 1000) > 600000";
    assert_eq!(cluster.number(written), 0, "requests were written at another time");
    clock.set("+0");
    cluster.assert_right(&patrons).await;

    for (by, said) in [("+3600", "s ahead of the database's"), ("-3600", "s behind the database's")] {
        clock.set(by);
        let (database, link) =
            (Proxy::start(cluster.nodes[0].database.address()), Proxy::start(cluster.nodes[0].link.address()));
        let options = clock.of(cluster.options(&database, free_port(), &link));
        let refused = options.output(&["serve"]).await;
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains(said), "{told}");
    }
    cluster.is_even().await;
}

#[tokio::test]
async fn a_node_whose_clock_has_drifted_leaves_its_accounts_to_the_others() {
    let Some(url) = crate::support::postgres::fresh_database() else { return };
    let cluster = Cluster::at(url, 3, |options| options.set("FAREBOX_CLOCK", "test")).await;
    let mut patrons = cluster.patrons(6).await;
    let drifted = &cluster.nodes[0];
    drifted.admin().advance(60).await;
    let address = drifted.link.address().to_string();
    cluster
        .until("left by the node", async || {
            let shares = cluster.shares();
            !shares.contains_key(&address) && shares.values().sum::<i64>() == 16
        })
        .await;
    let ready = drifted.server.get("/readyz").await;
    assert!(ready.status == 503 && ready.body.contains("clock is"), "{}", ready.body);
    let refused = chat(drifted.server.url(), &patrons[0].key).await;
    assert!(matches!(&refused, Outcome::NotNow(503, said) if said.contains("clock is")), "it lets requests in");
    for patron in &mut patrons {
        for node in 1..3 {
            cluster.chat(patron, node).await;
        }
    }
    drifted.server.says("lets nothing in").await;
    let seen =
        cluster.nodes[1].server.api(crate::support::server::Server::admin_token()).get("/admin/v1/nodes").await.ok();
    let rows = seen["nodes"].as_array().unwrap();
    let row = rows.iter().find(|row| row["address"] == address.as_str()).unwrap();
    assert!(row["clock_ahead_ms"].as_i64().unwrap() >= 59_000, "{seen}");
    let told = String::from_utf8_lossy(&cluster.nodes[2].server.cli(&["nodes"]).stdout).into_owned();
    assert!(told.contains("CLOCK AHEAD"), "{told}");
    // The others' clocks come to it, as it would come to theirs.
    for node in &cluster.nodes[1..] {
        node.admin().advance(60).await;
    }
    cluster.is_even().await;
    cluster.assert_right(&patrons).await;
}
