use super::*;
use crate::{
    format::{
        Particulars, ProviderFormat, Receipt, Upstream,
        cohere::Cohere,
        gemini::Gemini,
        mistral::Mistral,
        openai::{OpenAi, OpenAiCompatible},
    },
    inference::{Made, Usage},
};

const UPSTREAM: Upstream<'_> = Upstream { model: "up", max_output: 0, tier: None };

fn read(fields: &str) -> Result<Request, BadRequest> {
    read_embed(format!(r#"{{"model":"m"{fields}}}"#).as_bytes())
}

fn asked(more: &str) -> Request {
    read(&format!(r#","input_type":"search_query","texts":["a","b"]{more}"#)).unwrap()
}

#[test]
fn inputs_are_texts_images_or_parts() {
    let of = |fields: &str| {
        let request = read(&format!(r#","input_type":"image"{fields}"#)).unwrap();
        let unread: Vec<_> = request.unread.iter().map(|unread| unread.at.clone()).collect();
        match request.work {
            Work::Embedding(embedding) => (embedding.inputs, unread),
            _ => panic!(),
        }
    };
    let text = |text: &str| EmbeddingInput::Text(text.into());
    assert_eq!(of(r#","texts":["a","b"],"images":[]"#).0, [text("a"), text("b")]);
    assert_eq!(of(r#","images":["data:x"]"#).0, [image("data:x".into())]);
    let part = r#"{"type":"text","text":"a"}"#;
    let picture = r#"{"type":"image_url","image_url":{"url":"data:x"}}"#;
    assert_eq!(of(&format!(r#","inputs":[{{"content":[{part}]}}]"#)), (vec![text("a")], Vec::new()));
    let both = of(&format!(r#","inputs":[{{"content":[{part},{picture}]}}]"#));
    assert_eq!(both, (vec![image("data:x".into())], vec!["inputs[0].content[1]".to_owned()]));
    let two = of(&format!(r#","inputs":[{{"content":[{part},{part}]}}]"#));
    assert_eq!(two, (vec![text("a\na")], vec!["inputs[0].content[1]".to_owned()]));
}

#[test]
fn a_wrong_field_is_refused_by_its_name() {
    let many = json!(vec!["x"; 97]).to_string();
    for (fields, field) in [
        (r#","texts":["a"]"#.to_owned(), "input_type"),
        (r#","texts":["a"],"input_type":"speech""#.to_owned(), "input_type"),
        (r#","input_type":"image""#.to_owned(), "texts"),
        (r#","input_type":"image","texts":["a"],"images":["b"]"#.to_owned(), "texts"),
        (r#","input_type":"image","texts":"a""#.to_owned(), "texts"),
        (r#","input_type":"image","texts":["a",""]"#.to_owned(), "texts[1]"),
        (r#","input_type":"image","images":[7]"#.to_owned(), "images[0]"),
        (r#","input_type":"image","inputs":[{"content":[]}]"#.to_owned(), "inputs[0]"),
        (format!(r#","input_type":"image","texts":{many}"#), "texts"),
        (r#","input_type":"image","texts":["a"],"embedding_types":["int4"]"#.to_owned(), "embedding_types"),
        (r#","input_type":"image","texts":["a"],"embedding_types":[]"#.to_owned(), "embedding_types"),
        (r#","input_type":"image","texts":["a"],"output_dimension":0"#.to_owned(), "output_dimension"),
        (r#","input_type":"image","texts":["a"],"priority":1000"#.to_owned(), "priority"),
    ] {
        assert_eq!(read(&fields).unwrap_err().field, field, "{fields}");
    }
}

#[test]
fn coheres_models_get_the_body_as_it_came_and_others_theirs() {
    let text =
        r#"{ "model" : "m","texts":["h\u00e9"], "input_type":"search_query","embedding_types":["int8"],"new":1 }"#;
    let request = read_embed(text.as_bytes()).unwrap();
    let call = Cohere.call(request.clone(), &Upstream { model: "m", ..UPSTREAM }).unwrap();
    assert_eq!((&*call.path, call.body.to_json(), call.vectors), ("/embed", text.to_owned(), Some(1)));
    let call = Cohere.call(request, &UPSTREAM).unwrap();
    assert_eq!(call.body.to_json(), text.replace("\"m\"", "\"up\""));
    let body = |format: &dyn ProviderFormat, more: &str| -> (String, Value) {
        let mut call = format.call(asked(more), &UPSTREAM).unwrap();
        format.limit(&mut call, 5);
        assert_eq!(call.vectors, Some(2));
        (call.path.into_owned(), serde_json::from_str(&call.body.to_json()).unwrap())
    };
    let more = r#","output_dimension":256,"embedding_types":["float","base64"],"truncate":"NONE","priority":5"#;
    let openais = json!({"model": "up", "input": ["a", "b"], "dimensions": 256});
    assert_eq!(body(&OpenAi, more), ("/embeddings".to_owned(), openais.clone()));
    assert_eq!(body(&OpenAiCompatible, more), ("/embeddings".to_owned(), openais));
    let mistrals = json!({"model": "up", "input": ["a", "b"], "output_dimension": 256});
    assert_eq!(body(&Mistral, more).1["output_dimension"], mistrals["output_dimension"]);
    let one = body(&Gemini, more).1["requests"][0].clone();
    assert_eq!((&one["taskType"], &one["outputDimensionality"]), (&json!("RETRIEVAL_QUERY"), &json!(256)));
}

#[test]
fn what_others_would_not_be_told_or_could_not_answer_is_refused_by_its_name() {
    let formats: [&dyn ProviderFormat; 4] = [&OpenAi, &OpenAiCompatible, &Mistral, &Gemini];
    let picture = r#"{"type":"image_url","image_url":{"url":"data:x"}}"#;
    for (fields, field) in [
        (r#","texts":["a"],"embedding_types":["float","int8"]"#.to_owned(), "embedding_types"),
        (r#","texts":["a"],"truncate":"END""#.to_owned(), "truncate"),
        (r#","texts":["a"],"max_tokens":5"#.to_owned(), "max_tokens"),
        (r#","texts":["a"],"new":5"#.to_owned(), "new"),
        (r#","images":["data:x"]"#.to_owned(), "texts"),
        (format!(r#","inputs":[{{"content":[{{"type":"text","text":"a"}},{picture}]}}]"#), "inputs[0].content[1]"),
        (r#","inputs":[{"content":[{"type":"text","text":"a"}],"new":5}]"#.to_owned(), "inputs[0].new"),
        (r#","inputs":[{"content":[{"type":"text","text":"a","new":5}]}]"#.to_owned(), "inputs[0].content[0].new"),
    ] {
        for format in formats {
            let request = read(&format!(r#","input_type":"search_query"{fields}"#)).unwrap();
            let refused = format.call(request, &UPSTREAM);
            assert!(matches!(&refused, Err(Failure::Invalid { field: named, .. }) if named == field), "{refused:?}");
        }
    }
}

fn end(usage: Option<Box<str>>) -> End {
    let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage };
    End { usage: Usage { input: 5, ..Usage::default() }, receipt, is_cut: false }
}

fn written(request: &Request, deltas: Vec<Delta>, usage: Option<Box<str>>) -> Value {
    serde_json::from_slice(&Embed::writer(request, "0123", 0).whole(deltas, &end(usage))).unwrap()
}

#[test]
fn coheres_own_answer_passes_with_its_cost() {
    let body = br#"{"id" : "e","embeddings":{"int8":[[1,-2],[3,4]],"float":null},"texts":["a","b"],"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":3.0}},"response_type":"embeddings_by_type"}"#;
    let request = asked(r#","embedding_types":["int8"]"#);
    let call = Cohere.call(request.clone(), &UPSTREAM).unwrap();
    let events = call.read_whole(&Cohere, body);
    let [Event::Delta(delta), Event::Reported(report), Event::Finished { .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((report.input, report.output), (Some(3), Some(0)));
    let told = written(&request, vec![delta.clone()], report.own.clone());
    let meta = json!({"api_version": {"version": "2"}, "billed_units": {"input_tokens": 3.0}, "cost": "0.01"});
    assert_eq!(
        (&told["id"], &told["embeddings"]["int8"], &told["meta"]),
        (&json!("e"), &json!([[1, -2], [3, 4]]), &meta)
    );
    let few = br#"{"id":"e","embeddings":{"int8":[[1]]},"meta":{"billed_units":{"input_tokens":3}}}"#;
    assert!(matches!(&call.read_whole(&Cohere, few)[..], [Event::Reported(_), Event::Failed(_)]));
    for broken in
        ["", "{}", "[]", r#"{"embeddings":{}}"#, r#"{"embeddings":{"float":[[1]],"int8":[]}}"#, r#"{"message":"no"}"#]
    {
        let events = call.read_whole(&Cohere, broken.as_bytes());
        assert!(matches!(events.last(), Some(Event::Failed(_))), "{broken}: {events:?}");
    }
}

#[test]
fn others_vectors_are_written_by_the_types_that_were_asked_for() {
    let request = asked(r#","embedding_types":["float","base64"]"#);
    let made = Delta { made: Some(Box::new(Made::Vectors(vec![vec![0.5, -1.0], vec![0.25]]))), ..Delta::default() };
    let openais =
        br#"{"data":[{"index":1,"embedding":[0.25]},{"index":0,"embedding":[0.5,-1.0]}],"usage":{"prompt_tokens":5}}"#;
    let events = OpenAi.read_whole(Format::OpenAiEmbeddings, openais);
    let Some(Event::Delta(other)) = events.into_iter().next() else { panic!() };
    for delta in [made, other] {
        let told = written(&request, vec![delta], None);
        let expected = json!({"float": [[0.5, -1.0], [0.25]], "base64": ["AAAAPwAAgL8=", "AACAPg=="]});
        assert_eq!((&told["embeddings"], &told["texts"]), (&expected, &json!(["a", "b"])));
        assert_eq!(
            (&told["meta"]["billed_units"], &told["meta"]["cost"]),
            (&json!({"input_tokens": 5}), &json!("0.01"))
        );
        assert_eq!((&told["id"], &told["response_type"]), (&json!("0123"), &json!("embeddings_by_type")));
    }
}
