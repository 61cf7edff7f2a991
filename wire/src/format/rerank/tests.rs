use proptest::{collection, prelude::*, sample::select};

use super::*;
use crate::{
    format::{
        Particulars, ProviderFormat, Receipt, cohere::Cohere, gemini::Gemini, mistral::Mistral, openai::OpenAi,
        openai::OpenAiCompatible,
    },
    inference::Usage,
};

const UPSTREAM: Upstream<'_> = Upstream { model: "up", max_output: 0, tier: None };

fn read(fields: &str) -> Result<Request, BadRequest> {
    read_rerank(format!(r#"{{"model":"m"{fields}}}"#).as_bytes())
}

fn asked(more: &str) -> Request {
    read(&format!(r#","query":"q","documents":["a",{{"text":"b"}}]{more}"#)).unwrap()
}

fn work(request: Request) -> Rerank {
    match request.work {
        Work::Rerank(rerank) => rerank,
        other => panic!("{other:?}"),
    }
}

#[test]
fn documents_are_texts_or_objects_with_one() {
    let rerank = work(asked(r#","top_n":3,"return_documents":true,"max_tokens_per_doc":9"#));
    let expected = Rerank {
        query: "q".into(),
        documents: vec!["a".into(), "b".into()],
        top_n: Some(3),
        max_tokens_per_document: Some(9),
        return_documents: true,
    };
    assert_eq!(rerank, expected);
    let plain = work(read(r#","query":"q","documents":["a"],"top_n":null"#).unwrap());
    assert_eq!((plain.top_n, plain.max_tokens_per_document, plain.return_documents), (None, None, false));
}

#[test]
fn what_is_wrong_is_refused_by_its_field() {
    let many = |count: usize| json!(vec!["x"; count]).to_string();
    assert!(read(&format!(r#","query":"q","documents":{}"#, many(1_000))).is_ok());
    for (fields, field) in [
        (r#","documents":["a"]"#.to_owned(), "query"),
        (r#","query":" ","documents":["a"]"#.to_owned(), "query"),
        (r#","query":["q"],"documents":["a"]"#.to_owned(), "query"),
        (r#","query":"q""#.to_owned(), "documents"),
        (r#","query":"q","documents":[]"#.to_owned(), "documents"),
        (r#","query":"q","documents":"a""#.to_owned(), "documents"),
        (format!(r#","query":"q","documents":{}"#, many(1_001)), "documents"),
        (r#","query":"q","documents":["a",""]"#.to_owned(), "documents[1]"),
        (r#","query":"q","documents":["a",5]"#.to_owned(), "documents[1]"),
        (r#","query":"q","documents":[{"image":"x"}]"#.to_owned(), "documents[0]"),
        (r#","query":"q","documents":[{"text":"a","image":"x"}]"#.to_owned(), "documents[0]"),
        (r#","query":"q","documents":["a"],"top_n":0"#.to_owned(), "top_n"),
        (r#","query":"q","documents":["a"],"top_n":1.5"#.to_owned(), "top_n"),
        (r#","query":"q","documents":["a"],"max_tokens_per_doc":0"#.to_owned(), "max_tokens_per_doc"),
        (r#","query":"q","documents":["a"],"return_documents":"yes""#.to_owned(), "return_documents"),
        (r#","query":"q","documents":["a"],"maxCost":1"#.to_owned(), "maxCost"),
    ] {
        assert_eq!(read(&fields).unwrap_err().field, field, "{}", fields.chars().take(80).collect::<String>());
    }
    for unknown in ["relevant_spans", "rank_fields", "stream", "truncation"] {
        assert_eq!(terms(&asked(&format!(r#","{unknown}":1"#))).unwrap_err().field, unknown);
        assert_eq!(terms(&asked(&format!(r#","{unknown}":null"#))), Ok(Terms::default()));
    }
}

#[test]
fn each_provider_is_asked_in_its_words() {
    let body = |call: &ProviderCall| -> Value { serde_json::from_str(&call.body.to_json()).unwrap() };
    let of = |format: &dyn ProviderFormat| {
        let mut call = format.call(asked(r#","top_n":1,"return_documents":true,"priority":5"#), &UPSTREAM).unwrap();
        format.limit(&mut call, 5);
        assert_eq!((&*call.path, call.format, call.is_streamed), ("/rerank", Format::Rerank, false));
        body(&call)
    };
    // A field that is not known was refused before, unless the client's own key pays.
    let expected = json!({"model": "up", "query": "q", "documents": ["a", "b"], "top_n": 1, "priority": 5});
    assert_eq!(of(&OpenAiCompatible)["return_documents"], false);
    let mut compatible = of(&OpenAiCompatible);
    compatible.as_object_mut().unwrap().remove("return_documents");
    assert_eq!(compatible, expected);
    let call = Cohere.call(asked(r#","top_n":1,"return_documents":true,"priority":5"#), &UPSTREAM).unwrap();
    assert_eq!((&*call.path, body(&call)), ("/rerank", expected));
    let plain = r#"{"model":"up", "query" : "q","documents":[ "a" , "b\u00e9"]}"#;
    let call = Cohere.call(read_rerank(plain.as_bytes()).unwrap(), &UPSTREAM).unwrap();
    assert_eq!(call.body.to_json(), plain, "texts pass byte for byte");
    let others: [&dyn ProviderFormat; 4] = [&OpenAi, &Mistral, &Gemini, &crate::format::anthropic::Anthropic];
    for format in others {
        let refused = format.call(asked(""), &UPSTREAM);
        assert!(matches!(&refused, Err(Failure::Invalid { field, .. }) if field == "model"), "{refused:?}");
    }
}

/// The bill of an answer: tokens, and units of search.
fn billed(more: &Value) -> Option<(Option<u64>, Option<u64>)> {
    let mut answer = json!({"results": [{"index": 1, "relevance_score": 0.5}]});
    answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    match &read_answer(answer.to_string().as_bytes())[..] {
        [Event::Delta(_), Event::Reported(report), Event::Finished { .. }] => Some((report.input, report.search_units)),
        [Event::Delta(_), Event::Finished { .. }] => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_billed_is_read_and_what_was_processed_is_not() {
    let units =
        |units: Value| json!({"meta": {"billed_units": {"search_units": units}, "tokens": {"input_tokens": 99}}});
    assert_eq!(billed(&units(json!(2))), Some((None, Some(2))));
    assert_eq!(billed(&units(json!(2.0))), Some((None, Some(2))));
    for odd in [json!(0), json!(-1), json!(0.5), json!("2"), json!(null), json!([])] {
        assert_eq!(billed(&units(odd.clone())), None, "{odd}");
    }
    assert_eq!(billed(&json!({"meta": {"billed_units": {"input_tokens": 40.0}}})), Some((Some(40), None)));
    assert_eq!(billed(&json!({"usage": {"total_tokens": 38}})), Some((Some(38), None)));
    assert_eq!(billed(&json!({"usage": {"prompt_tokens": 38, "total_tokens": 0}})), Some((Some(38), None)));
    assert_eq!(billed(&json!({"usage": 5, "meta": []})), None);
}

#[test]
fn an_answer_without_results_is_none() {
    let failed = |body: &str| match read_answer(body.as_bytes()).pop() {
        Some(Event::Failed(failure)) => failure.to_string(),
        other => panic!("{body}: {other:?}"),
    };
    for broken in [
        "",
        "[]",
        "<html>",
        "{}",
        r#"{"results":[]}"#,
        r#"{"results":[{"index":-1,"relevance_score":0.5}]}"#,
        r#"{"results":[{"index":0}]}"#,
        r#"{"results":[{"index":0,"relevance_score":0.5},{"index":"1","relevance_score":0.5}]}"#,
    ] {
        failed(broken);
    }
    assert!(failed(r#"{"message":"too many documents"}"#).contains("too many documents"));
    let told = read_answer(br#"{"message":"no","meta":{"billed_units":{"search_units":1}}}"#);
    assert!(matches!(&told[..], [Event::Reported(_), Event::Failed(_)]), "what it bills is known: {told:?}");
}

#[test]
fn an_answer_is_what_clients_of_both_read() {
    let written = |request: &Request, body: &str, search_units: Option<u64>, input: u64| -> Value {
        let events = read_answer(body.as_bytes());
        let Event::Delta(delta) = &events[0] else { panic!("{events:?}") };
        let usage = events.iter().find_map(|event| match event {
            Event::Reported(report) => report.own.clone(),
            _ => None,
        });
        let farebox = Particulars { search_units, ..Particulars::default() };
        let receipt = Receipt { cost: "0.01".into(), farebox, usage };
        let end = End { usage: Usage { input, ..Usage::default() }, receipt, is_cut: false };
        serde_json::from_slice(&Reranking::writer(request, "1", 0).whole(vec![delta.clone()], &end)).unwrap()
    };
    let results = r#""results":[{"index":1,"relevance_score":0.98703205,"relevant_spans":[]},{"index":0,"relevance_score":-3.5,"document":{"text":"theirs"}}]"#;
    let cohere = format!(
        r#"{{"id":"x",{results},"meta":{{"api_version":{{"version":"2"}},"billed_units":{{"search_units":1.0}}}}}}"#
    );
    let whole = written(&asked(r#","return_documents":true"#), &cohere, Some(1), 0);
    let expected = json!([{"index": 1, "relevance_score": 0.987_032_05, "relevant_spans": [], "document": {"text": "b"}},
        {"index": 0, "relevance_score": -3.5, "document": {"text": "a"}}]);
    assert_eq!((&whole["id"], &whole["model"], &whole["results"]), (&json!("rerank-1"), &json!("m"), &expected));
    assert_eq!(whole["meta"], json!({"api_version": {"version": "2"}, "billed_units": {"search_units": 1.0}}));
    assert_eq!(whole["usage"], json!({"search_units": 1, "cost": "0.01"}));
    assert_eq!(whole["farebox"]["search_units"], 1);
    let jina = format!(r#"{{{results},"usage":{{"total_tokens":38,"x":1}}}}"#);
    let whole = written(&asked(""), &jina, None, 38);
    assert_eq!(whole["results"][1], json!({"index": 0, "relevance_score": -3.5}), "not asked for");
    assert_eq!(whole["usage"], json!({"total_tokens": 38, "x": 1, "cost": "0.01"}));
    assert_eq!(whole["meta"], json!({"billed_units": {"input_tokens": 38}}));
    let silent = written(&asked(""), &format!("{{{results}}}"), None, 21);
    assert_eq!(silent["usage"], json!({"total_tokens": 21, "cost": "0.01"}));
    let odd =
        written(&asked(r#","return_documents":true"#), r#"{"results":[{"index":7,"relevance_score":1}]}"#, None, 1);
    assert_eq!(odd["results"], json!([{"index": 7, "relevance_score": 1}]), "a place that is none has no document");
}

proptest! {
    #[test]
    fn no_body_panics_and_each_ends_once(
        bytes in collection::vec(any::<u8>(), 0..60),
        odd in collection::vec(select(vec!["null", "[]", "{}", "\"x\"", "-1.5", "1e400", "18446744073709551615", "0"]), 6),
    ) {
        let odd_answer = format!(
            r#"{{"results":[{{"index":{},"relevance_score":{}}}],"usage":{{"total_tokens":{}}},"meta":{{"billed_units":{{"search_units":{},"input_tokens":{}}}}},"x":{}}}"#,
            odd[0], odd[1], odd[2], odd[3], odd[4], odd[5]
        );
        for body in [bytes, odd_answer.into_bytes()] {
            let events = read_answer(&body);
            let ends = events.iter().filter(|event| matches!(event, Event::Finished { .. } | Event::Failed(_))).count();
            let is_last = matches!(events.last(), Some(Event::Finished { .. } | Event::Failed(_)));
            prop_assert!(ends == 1 && is_last);
        }
    }
}

#[test]
fn coheres_own_path_has_coheres_words() {
    let body = |more: &str| format!(r#"{{"model":"m","query":"q","documents":["a","b"]{more}}}"#);
    let refused = CohereReranking::read(body(r#","return_documents":true"#).as_bytes()).unwrap_err();
    assert_eq!(refused.field, RETURN_DOCUMENTS);
    assert_eq!(CohereReranking::read(body(r#","priority":-1"#).as_bytes()).unwrap_err().field, "priority");
    let request = CohereReranking::read(body(r#","priority":3"#).as_bytes()).unwrap();
    assert_eq!(terms(&request), Ok(Terms::default()));
    let events = read_answer(
        br#"{"id":"r","results":[{"index":1,"relevance_score":0.5}],"meta":{"billed_units":{"search_units":1.0}}}"#,
    );
    let [Event::Delta(delta), Event::Reported(report), ..] = &events[..] else { panic!("{events:?}") };
    let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: report.own.clone() };
    let end = End { usage: Usage::default(), receipt, is_cut: false };
    let told: Value =
        serde_json::from_slice(&CohereReranking::writer(&request, "0123", 0).whole(vec![delta.clone()], &end)).unwrap();
    let names: Vec<&String> = told.as_object().unwrap().keys().collect();
    assert_eq!(names, ["id", "results", "meta", "farebox"]);
    let meta = json!({"billed_units": {"search_units": 1.0}, "cost": "0.01"});
    assert_eq!((&told["results"], &told["meta"]), (&json!([{"index": 1, "relevance_score": 0.5}]), &meta));
}
