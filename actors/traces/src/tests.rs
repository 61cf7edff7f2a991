//! Spans without a collector: what is kept, how contexts go in and out. What a collector gets is told in the stories.

use super::*;

/// Traces whose collector is nowhere.
fn traces(ratio: f64) -> Traces {
    let options = Options {
        endpoint: "http://127.0.0.1:9".to_owned(),
        headers: vec![("x-key".to_owned(), "secret".to_owned())],
        ratio,
        service: "test".to_owned(),
        version: "1".to_owned(),
        instance: "a".to_owned(),
    };
    Traces::export(options).unwrap()
}

fn named(headers: &[(&'static str, String)], name: &str) -> Option<String> {
    headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test(flavor = "multi_thread")]
async fn a_span_names_itself_in_its_callers_trace() {
    let traces = traces(1.0);
    let header = |name: &str| match name {
        TRACEPARENT => Some(PARENT),
        TRACESTATE => Some("vendor=1,other=2"),
        _ => None,
    };
    let span = traces.begin("a", Kind::Server, header);
    let own = named(&span.headers(), TRACEPARENT).unwrap();
    assert!(own.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && own.ends_with("-01") && own != PARENT, "{own}");
    let child = span.child("b", Kind::Client);
    let of_child = child.headers();
    let called = named(&of_child, TRACEPARENT).unwrap();
    assert!(called[..36] == own[..36] && called != own, "{called}");
    assert_eq!(named(&of_child, TRACESTATE).as_deref(), Some("vendor=1,other=2"));
    // Clones are the same span.
    assert_eq!(span.clone().headers(), span.headers());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_kept_where_its_beginner_keeps_it() {
    let (all, none) = (traces(1.0), traces(0.0));
    let unkept = PARENT.replace("-01", "-00");
    for (traces, parent, is_kept) in [
        (&all, Some(PARENT), true),
        (&all, Some(&*unkept), false),
        (&all, None, true),
        (&none, Some(PARENT), true),
        (&none, Some(&*unkept), false),
        (&none, None, false),
    ] {
        let span = traces.begin("a", Kind::Server, |name| parent.filter(|_| name == TRACEPARENT));
        assert_eq!(span.is_kept(), is_kept, "{traces:?} {parent:?}");
        assert_eq!(span.child("b", Kind::Internal).is_kept(), is_kept);
        assert_eq!(span.headers().is_empty(), !is_kept);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_means_nothing_begins_a_new_trace() {
    let traces = traces(1.0);
    for nonsense in [
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        &"9".repeat(100_000),
    ] {
        let span = traces.begin("a", Kind::Server, |name| (name == TRACEPARENT).then_some(nonsense));
        let own = named(&span.headers(), TRACEPARENT).unwrap();
        assert!(!own.contains("4bf92f3577b34da6"), "{nonsense}: {own}");
    }
}

#[test]
fn what_is_not_exported_is_nothing() {
    let traces = Traces::default();
    assert!(!traces.is_on());
    let span = traces.begin("a", Kind::Server, |_| Some(PARENT));
    span.note("key", 1);
    span.fails("why");
    span.past("part", Instant::now(), Instant::now());
    assert!(!span.is_kept() && span.headers().is_empty());
    traces.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_collector_is_named_and_no_secret_is() {
    let options = |endpoint: &str, header: (&str, &str)| Options {
        endpoint: endpoint.to_owned(),
        headers: vec![(header.0.to_owned(), header.1.to_owned())],
        ratio: 1.0,
        service: String::new(),
        version: String::new(),
        instance: String::new(),
    };
    for (endpoint, header) in [
        ("nowhere", ("a", "b")),
        ("ftp://a", ("a", "b")),
        ("http://a", ("a b", "s3cret")),
        ("http://a", ("a", "s3cret\n")),
    ] {
        let error = Traces::export(options(endpoint, header)).unwrap_err().to_string();
        assert!(!error.is_empty() && !error.contains("s3cret"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_no_collector_for_long() {
    let traces = traces(1.0);
    drop(traces.begin("a", Kind::Server, |_| None));
    let began = Instant::now();
    let ending = traces.clone();
    tokio::task::spawn_blocking(move || ending.end()).await.unwrap();
    assert!(began.elapsed() < 3 * FAREWELL);
    // A span that ends later is lost, and that is all.
    drop(traces.begin("b", Kind::Server, |_| None));
}
