//! Downloads from a strict stand-in for a hub, over HTTP.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[allow(dead_code, reason = "the stories of the whole program take the rest")]
mod fake;

use std::{cell::RefCell, fs, path::Path, time::Duration};

use fake::{COMMIT, FakeHub, Misdeed, Open, sha256};
use hub::{Hub, HubError, Patience, Progress, Reference, Repository, Workspace};

const TOKEN: &str = "hf_a-token-of-the-tests";

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}

/// A hub with one repository: a small file and a large one.
fn stage(token: Option<&str>) -> (FakeHub, tempfile::TempDir) {
    let fake = FakeHub::start(Some(TOKEN), true);
    let files = [("config.json", b"{}".to_vec()), ("onnx/model.onnx", bytes(5_000))];
    fake.put("o/n", if token.is_some() { Open::Private } else { Open::ToAll }, &files);
    (fake, tempfile::tempdir().unwrap())
}

fn asker(fake: &FakeHub, token: Option<&str>) -> Hub {
    let (first_wait, idle) = (Duration::from_millis(1), Duration::from_secs(20));
    let patience = Patience { tries: 3, first_wait, longest_wait: Duration::from_secs(2), idle };
    Hub::new(fake.url(), token, patience).unwrap()
}

fn named(text: &str) -> Reference {
    text.parse().unwrap()
}

async fn listed(hub: &Hub, name: &str) -> Result<Repository, HubError> {
    hub.repository(&named(name), &|_| {}).await
}

/// Downloads all of `hf:o/n`. Returns what was told, with the error where there was one.
async fn pull(hub: &Hub, root: &Path) -> (Vec<Progress>, Option<HubError>) {
    let told = RefCell::new(Vec::new());
    let tell = |news| told.borrow_mut().push(news);
    let repository = hub.repository(&named("hf:o/n"), &tell).await.unwrap();
    let place = Workspace::open(root, &repository, &tell).unwrap();
    let files: Vec<_> = repository.files.iter().collect();
    let error = hub.download(&repository, &files, &place, &tell).await.err();
    (told.into_inner(), error)
}

fn file(root: &Path, name: &str) -> Vec<u8> {
    fs::read(root.join(format!("o--n@{COMMIT}/files")).join(name)).unwrap()
}

fn ranges(fake: &FakeHub) -> Vec<String> {
    let stored = fake.asked().into_iter().filter(|asked| asked.target.ends_with("?sig=ok"));
    stored.map(|asked| asked.range.unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_repository_is_listed_at_its_commit_and_its_files_come_whole() {
    let (fake, root) = stage(None);
    let hub = asker(&fake, None);
    for name in ["hf:o/n", "hf:o/n@v1", &format!("hf:o/n@{COMMIT}")] {
        let found = listed(&hub, name).await.unwrap();
        assert_eq!((found.commit.as_str(), found.files.len()), (COMMIT, 2));
    }
    let (told, error) = pull(&hub, root.path()).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(
        (file(root.path(), "config.json"), file(root.path(), "onnx/model.onnx")),
        (b"{}".to_vec(), bytes(5_000))
    );
    let whole = |was_here| Progress::Whole { file: "onnx/model.onnx".into(), was_here };
    assert_eq!(told.last(), Some(&whole(false)));
    // What is here is not asked for again.
    fake.asked();
    let (told, _) = pull(&hub, root.path()).await;
    assert_eq!((told.last(), fake.asked().len()), (Some(&whole(true)), 1));
    // What was changed here is.
    let changed = root.path().join(format!("o--n@{COMMIT}/files/onnx/model.onnx"));
    fs::write(&changed, vec![0; 5_000]).unwrap();
    assert!(pull(&hub, root.path()).await.1.is_none());
    assert_eq!(file(root.path(), "onnx/model.onnx"), bytes(5_000));
}

#[tokio::test]
async fn a_token_goes_to_the_hub_and_never_to_its_store() {
    let (fake, root) = stage(Some(TOKEN));
    let (told, error) = pull(&asker(&fake, Some(TOKEN)), root.path()).await;
    assert!(error.is_none(), "{error:?}");
    let asked = fake.asked();
    let (stored, own): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| asked.target.ends_with("?sig=ok"));
    assert!(stored.len() == 1 && stored[0].token.is_none());
    assert!(own.len() == 3 && own.iter().all(|asked| asked.token.as_deref() == Some(&format!("Bearer {TOKEN}"))));
    assert!(fake.leaked().is_empty() && !format!("{told:?}").contains(TOKEN));
}

#[tokio::test]
async fn what_can_not_be_seen_is_told_with_its_remedy() {
    let fake = FakeHub::start(Some(TOKEN), false);
    fake.put("o/open", Open::ToAll, &[]);
    fake.put("o/gated", Open::Gated, &[("a", b"x".to_vec())]);
    fake.put("o/private", Open::Private, &[]);
    let (with, without, wrong) = (asker(&fake, Some(TOKEN)), asker(&fake, None), asker(&fake, Some("hf_other")));
    let say = async |hub: &Hub, name: &str| listed(hub, name).await.unwrap_err().to_string();
    assert!(say(&without, "hf:o/none").await.contains("HF_TOKEN"));
    assert!(say(&with, "hf:o/none").await.contains("not open to this token"));
    assert!(say(&without, "hf:o/private").await.contains("is private"));
    assert!(listed(&with, "hf:o/private").await.is_ok());
    assert!(say(&wrong, "hf:o/open").await.contains("refuses the token"));
    assert!(say(&without, "hf:o/open@v9").await.contains("no revision v9"));
    for (hub, remedy) in [(&with, "with the account of this token"), (&without, "set that account's token")] {
        let repository = listed(hub, "hf:o/gated").await.unwrap();
        let root = tempfile::tempdir().unwrap();
        let place = Workspace::open(root.path(), &repository, &|_| {}).unwrap();
        let files: Vec<_> = repository.files.iter().collect();
        let error = hub.download(&repository, &files, &place, &|_| {}).await.unwrap_err().to_string();
        assert!(error.contains("accept its terms") && error.contains(remedy), "{error}");
    }
    assert!(fake.leaked().is_empty());
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_stopped() {
    let (fake, root) = stage(None);
    let hub = asker(&fake, None);
    fake.script(Misdeed::CutAt(9)); // The small file, which is whole by then.
    for cut in [1_000, 500, 1] {
        fake.script(Misdeed::CutAt(cut));
    }
    let (told, error) = pull(&hub, root.path()).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(ranges(&fake), ["", "bytes=1000-", "bytes=1500-", "bytes=1501-"]);
    assert_eq!(told.iter().filter(|news| matches!(news, Progress::Again { .. })).count(), 3);
    assert_eq!(file(root.path(), "onnx/model.onnx"), bytes(5_000));
}

#[tokio::test]
async fn a_later_process_goes_on_with_what_an_earlier_one_left() {
    let (fake, root) = stage(None);
    let hub = asker(&fake, None);
    fake.script(Misdeed::CutAt(2));
    // The hub breaks without a byte more until nobody asks again.
    for cut in [700, 0, 0] {
        fake.script(Misdeed::CutAt(cut));
    }
    let error = pull(&hub, root.path()).await.1.unwrap();
    assert!(matches!(&error, HubError::Unreachable { what, .. } if what == "onnx/model.onnx"), "{error}");
    ranges(&fake);
    assert!(pull(&hub, root.path()).await.1.is_none());
    assert_eq!(ranges(&fake), ["bytes=700-"]);
    assert_eq!(file(root.path(), "onnx/model.onnx"), bytes(5_000));
}

#[tokio::test]
async fn every_way_to_go_on_ends_with_the_right_bytes_or_an_error() {
    for (first, then, begins) in [
        (Misdeed::CutAt(600), Misdeed::WithoutRanges, vec!["", "bytes=600-"]),
        (Misdeed::CutAt(600), Misdeed::NoSuchRange, vec!["", "bytes=600-", ""]),
        (Misdeed::CutAt(600), Misdeed::Slow(0), vec!["", "bytes=600-"]),
        // The rest is of another file: the whole comes once more.
        (Misdeed::CutAt(600), Misdeed::OtherBytes, vec!["", "bytes=600-", ""]),
        (Misdeed::Status(503, None), Misdeed::Status(429, Some(0)), vec![""]),
    ] {
        let (fake, root) = stage(None);
        fake.script(Misdeed::CutAt(2));
        let story = format!("{first:?} {then:?}");
        fake.script(first);
        fake.script(then);
        let (_, error) = pull(&asker(&fake, None), root.path()).await;
        assert!(error.is_none(), "{story}: {error:?}");
        assert_eq!(ranges(&fake), begins, "{story}");
        assert_eq!(file(root.path(), "onnx/model.onnx"), bytes(5_000), "{story}");
    }
}

#[tokio::test]
async fn what_is_not_the_listed_file_is_refused_and_leaves_nothing() {
    for (misdeed, wanted) in [
        (Misdeed::OtherBytes, "came damaged"),
        (Misdeed::OtherSum, "the hub has sha256:000"),
        (Misdeed::TooLong, "more than 5000 bytes"),
        (Misdeed::Redirect("ftp://127.0.0.1/x"), "no web address"),
        (Misdeed::Status(418, None), "status 418"),
        (Misdeed::Status(429, Some(3_600)), "in 3600 seconds"),
    ] {
        let (fake, root) = stage(None);
        fake.script(Misdeed::CutAt(2));
        fake.script(misdeed.clone());
        let (_, error) = pull(&asker(&fake, None), root.path()).await;
        let error = error.unwrap().to_string();
        assert!(error.contains(wanted), "{misdeed:?}: {error}");
        let target = root.path().join(format!("o--n@{COMMIT}/files/onnx/model.onnx"));
        assert!(!target.exists(), "{misdeed:?}");
        // An honest hub is enough to mend it.
        assert!(pull(&asker(&fake, None), root.path()).await.1.is_none(), "{misdeed:?}");
        assert_eq!(sha256(&file(root.path(), "onnx/model.onnx")), sha256(&bytes(5_000)));
    }
}

#[tokio::test]
async fn a_hub_that_redirects_in_a_circle_is_left() {
    let (fake, root) = stage(None);
    fake.script(Misdeed::CutAt(2));
    let there: &'static str = format!("{}/o/n/resolve/{COMMIT}/onnx/model.onnx", fake.url()).leak();
    (0..9).for_each(|_| fake.script(Misdeed::Redirect(there)));
    let error = pull(&asker(&fake, None), root.path()).await.1.unwrap().to_string();
    assert!(error.contains("too often"), "{error}");
}

#[tokio::test]
async fn no_name_of_a_hub_leaves_the_folder() {
    for name in ["../../evil", "/tmp/evil", "a/../../evil", "a\\..\\evil", "a\nb"] {
        let fake = FakeHub::start(None, false);
        fake.put("o/n", Open::ToAll, &[(name, b"x".to_vec())]);
        let error = listed(&asker(&fake, None), "hf:o/n").await.unwrap_err();
        assert!(matches!(error, HubError::Name(_)), "{name:?}: {error}");
    }
}

#[test]
fn two_at_once_wait_for_each_other() {
    let (fake, root) = stage(None);
    fake.script(Misdeed::CutAt(2));
    fake.script(Misdeed::Slow(0));
    let pulls: Vec<_> = (0..3)
        .map(|_| {
            let (fake, root) = (fake.clone(), root.path().to_owned());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async { pull(&asker(&fake, None), &root).await.1.map(|error| error.to_string()) })
            })
        })
        .collect();
    for pull in pulls {
        assert_eq!(pull.join().unwrap(), None);
    }
    assert_eq!(ranges(&fake), [""], "one alone has downloaded");
    assert_eq!(file(root.path(), "onnx/model.onnx"), bytes(5_000));
}
