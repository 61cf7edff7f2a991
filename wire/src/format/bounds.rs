//! Tests of what a body may cost, over all formats of clients: lists of tiny entries take a hundred times their length once they
//! are read, so that a body that has too many of them is refused before it is.

use super::{
    anthropic, cohere, gemini,
    openai::{self, media},
    rerank,
};
use crate::{fields::BadRequest, inference::Request};

/// A reader of bodies, and fields that it needs beside a list.
type Reader = (&'static str, fn(&[u8]) -> Result<Request, BadRequest>, &'static str);

const READERS: [Reader; 17] = [
    ("chat", openai::read_chat, r#""messages":[{"role":"user","content":"x"}],"#),
    ("completion", openai::read_completion, r#""prompt":"x","#),
    ("response", openai::read_response, r#""input":"x","#),
    ("embedding", openai::read_embedding, r#""input":"x","#),
    ("messages", anthropic::read_messages, r#""max_tokens":9,"messages":[{"role":"user","content":"x"}],"#),
    ("count", anthropic::read_to_count, r#""messages":[{"role":"user","content":"x"}],"#),
    ("generate", |body| gemini::read_generate(body, None, false), r#""contents":[{"parts":[{"text":"x"}]}],"#),
    ("tokens", |body| gemini::read_to_count(body, "m"), r#""contents":[{"parts":[{"text":"x"}]}],"#),
    ("embed", |body| gemini::read_embedding(body, "m"), r#""content":{"parts":[{"text":"x"}]},"#),
    (
        "embed many",
        |body| gemini::read_embeddings(body, "m"),
        r#""requests":[{"model":"models/m","content":{"parts":[{"text":"x"}]}}],"#,
    ),
    ("chat of Cohere", cohere::read_chat, r#""messages":[{"role":"user","content":"x"}],"#),
    ("embed of Cohere", cohere::read_embed, r#""texts":["x"],"input_type":"search_query","#),
    ("rerank", rerank::read_rerank, r#""query":"x","documents":["x"],"#),
    (
        "rerank of Cohere",
        |body| <rerank::CohereReranking as super::ClientFormat>::read(body),
        r#""query":"x","documents":["x"],"#,
    ),
    ("speech", media::speech::read_speech, r#""input":"x","voice":"alloy","#),
    ("images", media::images::read_images, r#""prompt":"x","#),
    ("edits", media::edits::read_edit, r#""prompt":"x","images":[{"image_url":"x"}],"#),
];

fn refused(reader: Reader, field: &str, list: &str) -> BadRequest {
    let (name, read, beside) = reader;
    let body = format!(r#"{{"model":"m",{beside}"{field}":{list}}}"#);
    match read(body.as_bytes()) {
        Err(refused) => refused,
        Ok(_) => panic!("{name} was read with {} bytes of {field}", body.len()),
    }
}

fn list(entry: &str, count: usize) -> String {
    format!("[{}]", vec![entry; count].join(","))
}

#[test]
fn a_body_of_too_many_objects_or_values_is_refused_by_every_reader() {
    for reader in READERS {
        let objects = refused(reader, "x", &list("{}", 200_001));
        assert!(objects.field == "body" && objects.message.contains("200000 objects"), "{}: {objects}", reader.0);
        let values = refused(reader, "x", &list("7", 500_002));
        assert!(values.field == "body" && values.message.contains("500000 values"), "{}: {values}", reader.0);
    }
}

#[test]
fn entries_without_a_meaning_are_kept_up_to_a_number() {
    let many = list("7", 60_000);
    let content = format!(r#"[{{"role":"user","content":{many}}}]"#);
    let cases = [
        (READERS[0], "tools", many.clone()),
        (READERS[0], "functions", many.clone()),
        (READERS[0], "messages", content.clone()),
        (READERS[2], "tools", many.clone()),
        (READERS[4], "tools", many.clone()),
        (READERS[4], "messages", content.clone()),
        (READERS[6], "tools", many.clone()),
        (READERS[10], "tools", many),
        (READERS[10], "messages", content),
    ];
    for (reader, field, list) in cases {
        let refused = refused(reader, field, &list);
        let is_bounded = refused.message.contains("50000") || refused.message.contains("must");
        assert!(is_bounded && refused.field.contains(field), "{}: {refused}", reader.0);
    }
    let (_, read, beside) = READERS[0];
    let some = format!(r#"{{"model":"m",{beside}"tools":{}}}"#, list("7", 50_000));
    assert_eq!(read(some.as_bytes()).unwrap().unread.len(), 50_000, "each is kept with its place");
}
