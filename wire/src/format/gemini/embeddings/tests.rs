use serde_json::json;

use super::*;
use crate::{
    format::{Particulars, ProviderFormat, Receipt, cohere::Cohere, gemini::Gemini, mistral::Mistral, openai::OpenAi},
    inference::{Made, Usage},
};

const UPSTREAM: Upstream<'_> = Upstream { model: "up", max_output: 0, tier: None };

fn one(more: &Value) -> Value {
    let mut one = json!({"model": "models/google/m", "content": {"parts": [{"text": "a"}, {"text": "b"}]}});
    one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    one
}

fn many(more: &Value) -> Request {
    let other = json!({"content": {"parts": {"text": "c"}}});
    let mut other = other.as_object().unwrap().clone();
    other.extend(more.as_object().unwrap().clone());
    let body = json!({"requests": [one(more), other]});
    read_embeddings(body.to_string().as_bytes(), "google/m").unwrap()
}

fn body(call: &ProviderCall) -> Value {
    serde_json::from_str(&call.body.to_json()).unwrap()
}

#[test]
fn google_gets_the_clients_body_with_its_own_name_of_the_model() {
    let call = Gemini.call(many(&json!({"taskType": "FACT_VERIFICATION", "title": "t"})), &UPSTREAM).unwrap();
    assert_eq!((&*call.path, call.vectors), ("/models/up:batchEmbedContents", Some(2)));
    assert_eq!(body(&call)["requests"][0]["model"], "models/up");
    assert_eq!(
        body(&call)["requests"][1],
        json!({"content": {"parts": {"text": "c"}}, "taskType": "FACT_VERIFICATION", "title": "t", "model": "models/up"})
    );
    let text = r#"{"content": {"parts":[ {"text":"a"} ]}, "output_dimensionality":256}"#;
    let call = Gemini.call(read_embedding(text.as_bytes(), "google/m").unwrap(), &UPSTREAM).unwrap();
    assert_eq!((&*call.path, call.body.to_json()), ("/models/up:embedContent", text.to_owned()));
}

#[test]
fn others_are_asked_in_their_words() {
    let more = json!({"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 256});
    let call = Cohere.call(many(&more), &UPSTREAM).unwrap();
    let expected = json!({"model": "up", "texts": ["ab", "c"], "input_type": "search_query", "embedding_types": ["float"], "output_dimension": 256});
    assert_eq!(body(&call), expected);
    let more = json!({"outputDimensionality": 256});
    for (format, name) in [(&OpenAi as &dyn ProviderFormat, "dimensions"), (&Mistral, "output_dimension")] {
        let call = format.call(many(&more), &UPSTREAM).unwrap();
        assert_eq!(
            (&*call.path, &body(&call)["input"], &body(&call)[name]),
            ("/embeddings", &json!(["ab", "c"]), &json!(256))
        );
    }
    let refused = |format: &dyn ProviderFormat, request: Request| match format.call(request, &UPSTREAM) {
        Err(Failure::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&OpenAi, many(&json!({"taskType": "CLUSTERING"}))), "taskType");
    assert_eq!(refused(&Cohere, many(&json!({"taskType": "FACT_VERIFICATION"}))), "taskType");
    assert_eq!(refused(&OpenAi, many(&json!({"title": "t"}))), "requests[0].title");
}

#[test]
fn what_is_wrong_or_has_no_price_is_refused_by_its_name() {
    let refused = |body: Value| {
        let read = match body.get("requests") {
            Some(_) => read_embeddings(body.to_string().as_bytes(), "google/m"),
            None => read_embedding(body.to_string().as_bytes(), "google/m"),
        };
        read.and_then(|request| terms(&request).map(drop)).unwrap_err().field
    };
    let image = json!({"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]});
    for (body, field) in [
        (json!({}), "content"),
        (json!({"content": {}}), "content.parts"),
        (json!({"content": {"parts": [{"text": ""}]}}), "content.parts"),
        (json!({"requests": []}), "requests"),
        (json!({"requests": [{"model": "models/other", "content": image}]}), "requests[0].model"),
        (one(&json!({"outputDimensionality": 0})), "outputDimensionality"),
        (one(&json!({"taskType": 7})), "taskType"),
        (one(&json!({"output_dimensionality": 2, "outputDimensionality": 3})), "outputDimensionality"),
        (json!({"content": image}), "content.parts[0].inlineData"),
        (one(&json!({"fieldOfTomorrow": 1})), "fieldOfTomorrow"),
        (json!({"requests": [one(&json!({"x": 1}))]}), "requests[0].x"),
        (json!({"requests": [one(&json!({}))], "x": 1}), "x"),
    ] {
        assert_eq!(refused(body.clone()), field, "{body}");
    }
    assert_eq!(read_embedding(br#"{"requests":[]}"#, "m").unwrap_err().field, "requests");
    assert_eq!(read_embeddings(br#"{"content":{}}"#, "m").unwrap_err().field, "requests");
    assert_eq!(terms(&many(&json!({"title": "t", "taskType": "CLUSTERING"}))), Ok(Terms::default()));
}

fn end(own: Option<&str>) -> End {
    let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: own.map(Box::from) };
    End { usage: Usage { input: 3, ..Usage::default() }, receipt, is_cut: false }
}

#[test]
fn an_answer_passes_as_it_came_with_its_cost() {
    let told = r#"{"embeddings" : [{"values":[0.50]},{"values":[1]}],"usageMetadata":{"promptTokenCount":3}}"#;
    let events = Gemini.read_whole(FORMAT, told.as_bytes());
    let [Event::Delta(delta), Event::Reported(report), Event::Finished { .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((report.input, report.output), (Some(3), Some(0)));
    let mut writer = Writer { is_one: false };
    let written = String::from_utf8(writer.whole(vec![delta.clone()], &end(report.own.as_deref()))).unwrap();
    assert!(written.starts_with(r#"{"embeddings" : [{"values":[0.50]},{"values":[1]}],"usageMetadata":{"promptTokenCount":3,"cost":"0.01"},"farebox""#), "{written}");
    let call = Gemini.call(many(&json!({})), &UPSTREAM).unwrap();
    assert!(matches!(call.read_whole(&Gemini, told.as_bytes()).last(), Some(Event::Finished { .. })));
    let fewer = br#"{"embeddings":[{"values":[0.5]}],"usageMetadata":{"promptTokenCount":3}}"#;
    assert!(matches!(&call.read_whole(&Gemini, fewer)[..], [Event::Reported(_), Event::Failed(_)]));
    for broken in ["", "{}", "nonsense", r#"{"embeddings":[]}"#, r#"{"error":{"message":"no"}}"#] {
        assert!(matches!(Gemini.read_whole(FORMAT, broken.as_bytes()).last(), Some(Event::Failed(_))), "{broken}");
    }
}

#[test]
fn vectors_of_others_are_written_as_the_client_reads_them() {
    let own = Delta { made: Some(Box::new(Made::Vectors(vec![vec![0.5], vec![-1.0]]))), ..Delta::default() };
    let answer =
        br#"{"data":[{"index":1,"embedding":[-1.0]},{"index":0,"embedding":[0.5]}],"usage":{"prompt_tokens":3}}"#;
    let events = OpenAi.read_whole(Format::OpenAiEmbeddings, answer);
    let [Event::Delta(openais), ..] = &events[..] else { panic!("{events:?}") };
    for delta in [own.clone(), openais.clone()] {
        let written: Value = serde_json::from_slice(&Writer { is_one: false }.whole(vec![delta], &end(None))).unwrap();
        assert_eq!(written["embeddings"], json!([{"values": [0.5]}, {"values": [-1.0]}]));
        assert_eq!(written["usageMetadata"], json!({"promptTokenCount": 3, "cost": "0.01"}));
    }
    let written: Value = serde_json::from_slice(&Writer { is_one: true }.whole(vec![own], &end(None))).unwrap();
    assert_eq!(written["embedding"], json!({"values": [0.5]}));
}
