//! Embeddings of providers that don't speak the client's format: the calls, and the vectors of their answers. Mistral's answer
//! is OpenAI's; Cohere ("Embed", API reference, version 2) and Google (`batchEmbedContents`, Gemini API) have their own.

use std::borrow::Cow;

use serde_json::{Value, json, value::RawValue};

use super::{
    FINISHED, ProviderCall, Upstream,
    cohere::embed,
    count::count,
    gemini,
    openai::{fault, reading::read_as},
};
use crate::{
    fields::Fields,
    inference::{Delta, Embedding, EmbeddingInput, Event, Failure, Format, Made, Request, VectorEncoding, Work},
    object::Object,
    usage::Report,
};

/// Fields that every provider has words for, or that change no vector.
const KNOWN: [&str; 8] =
    ["model", "input", "dimensions", "encoding_format", "input_type", "user", "safety_identifier", "metadata"];
/// The most inputs that Cohere and Google take at once.
const MOST_AT_COHERE: usize = 96;
const MOST_AT_GOOGLE: usize = 100;
/// The name of what vectors are for: of OpenAI's format, of Google's, and of Cohere's.
const PURPOSE: [&str; 3] = ["input_type", "taskType", "input_type"];
/// The name of the texts: of OpenAI's format, of Google's, and of Cohere's.
const INPUT: [&str; 3] = ["input", "requests", "texts"];
/// The name of the vectors' length: of OpenAI's format, of Google's, and of Cohere's.
const LENGTH: [&str; 3] = ["dimensions", "outputDimensionality", "output_dimension"];
/// What vectors are for: Cohere's words, and Google's.
const PURPOSES: [(&str, &str); 4] = [
    ("search_document", "RETRIEVAL_DOCUMENT"),
    ("search_query", "RETRIEVAL_QUERY"),
    ("classification", "CLASSIFICATION"),
    ("clustering", "CLUSTERING"),
];

/// The purpose that a word of Google's names.
pub(super) fn purpose_of_googles(word: &str) -> Option<&'static str> {
    PURPOSES.iter().find(|(_, googles)| *googles == word).map(|(purpose, _)| *purpose)
}

/// The call of a provider that speaks OpenAI's format, where the client speaks another one.
///
/// # Errors
///
/// A part of the request that OpenAI has no words for.
pub(super) fn openai(path: &'static str, request: &Request, upstream: &Upstream<'_>) -> Result<ProviderCall, Failure> {
    let (embedding, texts) = read(request, usize::MAX)?;
    refuse_purpose(request, embedding)?;
    let mut body = Fields::default();
    body.set("model", upstream.model);
    body.set("input", &texts);
    if let Some(dimensions) = embedding.dimensions {
        body.set("dimensions", &dimensions);
    }
    Ok(asked(Format::OpenAiEmbeddings, path.into(), body, texts.len()))
}

/// What is asked of a model that makes vectors here, with the names of its parts in the client's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnTexts<'a> {
    /// The texts, each of which becomes a vector.
    pub texts: Vec<&'a str>,
    /// The length of the vectors.
    pub dimensions: Option<u32>,
    /// The purpose of the vectors.
    pub purpose: Option<&'a str>,
    /// Whether the purpose is said to models, too, that do not distinguish any: Cohere's clients always say one.
    pub is_purpose_optional: bool,
    /// The names of the fields.
    pub fields: TextFields,
}

/// The names of an embedding's fields in its client's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextFields {
    /// The texts.
    pub texts: &'static str,
    /// The length of the vectors.
    pub dimensions: &'static str,
    /// The purpose of the vectors.
    pub purpose: &'static str,
}

/// Reads what is asked of a model that makes vectors here.
///
/// # Errors
///
/// The request is no embedding of texts, or has a field that no such model honours. The failure names the field.
pub fn own_texts(request: &Request) -> Result<OwnTexts<'_>, Failure> {
    let (embedding, texts) = read(request, usize::MAX)?;
    let fields = TextFields {
        texts: named(request, INPUT),
        dimensions: named(request, LENGTH),
        purpose: named(request, PURPOSE),
    };
    let (dimensions, purpose) = (embedding.dimensions, embedding.purpose.as_deref());
    let is_purpose_optional = request.source.format == Format::CohereEmbed;
    Ok(OwnTexts { texts, dimensions, purpose, is_purpose_optional, fields })
}

fn refuse_purpose(request: &Request, embedding: &Embedding) -> Result<(), Failure> {
    match embedding.purpose {
        // Cohere's clients always say one, also to models that do not distinguish it.
        Some(_) if request.source.format != Format::CohereEmbed => {
            Err(invalid(named(request, PURPOSE), "is not distinguished by this model"))
        }
        Some(_) | None => Ok(()),
    }
}

/// A field's name in the client's format.
fn named(request: &Request, [openais, googles, coheres]: [&'static str; 3]) -> &'static str {
    match request.source.format {
        Format::GeminiEmbeddings => googles,
        Format::CohereEmbed => coheres,
        _ => openais,
    }
}

/// Mistral's call.
///
/// # Errors
///
/// A part of the request that Mistral has no words for.
pub(super) fn mistral(request: &Request, upstream: &Upstream<'_>) -> Result<ProviderCall, Failure> {
    let (embedding, texts) = read(request, usize::MAX)?;
    refuse_purpose(request, embedding)?;
    let mut body = Fields::default();
    body.set("model", upstream.model);
    body.set("input", &texts);
    if let Some(dimensions) = embedding.dimensions {
        body.set("output_dimension", &dimensions);
    }
    if embedding.encoding == VectorEncoding::Base64 {
        body.set("encoding_format", "base64");
    }
    Ok(asked(Format::OpenAiEmbeddings, "/embeddings".into(), body, texts.len()))
}

/// Cohere's call.
///
/// # Errors
///
/// A part of the request that Cohere has no words for.
pub(super) fn cohere(path: &'static str, request: &Request, upstream: &Upstream<'_>) -> Result<ProviderCall, Failure> {
    let (embedding, texts) = read(request, MOST_AT_COHERE)?;
    let is_known = |purpose: &str| PURPOSES.iter().any(|(known, _)| *known == purpose);
    if request.source.format == Format::GeminiEmbeddings && !embedding.purpose.as_deref().is_none_or(is_known) {
        return Err(invalid(PURPOSE[1], "is not a purpose that this model distinguishes"));
    }
    let mut body = Fields::default();
    body.set("model", upstream.model);
    body.set("texts", &texts);
    body.set("input_type", embedding.purpose.as_deref().unwrap_or(PURPOSES[0].0));
    body.set("embedding_types", &["float"]);
    if let Some(dimensions) = embedding.dimensions {
        body.set("output_dimension", &dimensions);
    }
    Ok(asked(Format::Cohere, path.into(), body, texts.len()))
}

/// Google's call.
///
/// # Errors
///
/// A part of the request that Google has no words for.
pub(super) fn google(request: &Request, upstream: &Upstream<'_>) -> Result<ProviderCall, Failure> {
    let (embedding, texts) = read(request, MOST_AT_GOOGLE)?;
    let purpose = match embedding.purpose.as_deref() {
        None => None,
        Some(purpose) => {
            let known = PURPOSES.iter().find(|(name, _)| *name == purpose);
            Some(known.ok_or_else(|| invalid(PURPOSE[0], "is not a purpose that this model distinguishes"))?.1)
        }
    };
    let name = format!("models/{}", upstream.model);
    let one = |text: &&str| {
        let mut one = json!({"model": name, "content": {"parts": [{"text": text}]}});
        if let Some(dimensions) = embedding.dimensions {
            one["outputDimensionality"] = dimensions.into();
        }
        if let Some(purpose) = purpose {
            one["taskType"] = purpose.into();
        }
        one
    };
    let mut body = Fields::default();
    body.set("requests", &texts.iter().map(one).collect::<Vec<_>>());
    let path = format!("/models/{}:batchEmbedContents", upstream.model);
    Ok(asked(Format::Gemini, path.into(), body, texts.len()))
}

/// A call whose answer must have this many vectors.
fn asked(format: Format, path: Cow<'static, str>, body: Fields, vectors: usize) -> ProviderCall {
    ProviderCall { vectors: Some(vectors), ..ProviderCall::translated(format, false, path, body) }
}

fn invalid(field: &str, message: impl Into<String>) -> Failure {
    Failure::Invalid { field: field.to_owned(), message: message.into() }
}

/// What is asked for, and its texts.
fn read(request: &Request, most: usize) -> Result<(&Embedding, Vec<&str>), Failure> {
    let Work::Embedding(embedding) = &request.work else { return Err(invalid("model", "makes vectors alone")) };
    let body = &request.source.body;
    if request.source.format == Format::CohereEmbed {
        embed::check_abroad(request).map_err(|bad| invalid(&bad.field, bad.message))?;
    }
    let strange = match request.source.format {
        Format::CohereEmbed => None,
        Format::GeminiEmbeddings => gemini::unsaid(request),
        _ => body.names().find(|name| !KNOWN.contains(name) && body.present(name).is_some()),
    };
    if let Some(name) = strange {
        return Err(invalid(name, "can't be asked of this model"));
    }
    if embedding.inputs.len() > most {
        let message = format!("must have at most {most} texts for this model");
        return Err(invalid(named(request, INPUT), message));
    }
    let text = |input: &'_ EmbeddingInput| match input {
        EmbeddingInput::Text(_) => Ok(()),
        EmbeddingInput::Tokens(_) | EmbeddingInput::Media(_) => {
            Err(invalid(named(request, INPUT), "must be texts: this model reads no others' tokens here, and no images"))
        }
    };
    embedding.inputs.iter().try_for_each(text)?;
    let texts = embedding.inputs.iter().filter_map(|input| match input {
        EmbeddingInput::Text(text) => Some(&**text),
        EmbeddingInput::Tokens(_) | EmbeddingInput::Media(_) => None,
    });
    Ok((embedding, texts.collect()))
}

/// The events of Cohere's or Google's answer with vectors; `None` where a body has no place for any. An answer whose
/// vectors can't be read failed, and what was used is reported.
pub(super) fn answer(body: &[u8]) -> Option<Vec<Event>> {
    let fields = Fields::parse(body).ok()?;
    let vectors = vectors_of(fields.present("embeddings")?).filter(|vectors| !vectors.is_empty());
    let whole: Value = serde_json::from_slice(body).ok()?;
    let places = ["/meta/billed_units/input_tokens", "/usageMetadata/promptTokenCount"];
    let input = places.into_iter().filter_map(|place| whole.pointer(place)).find_map(count).filter(|input| *input > 0);
    let report = input
        .map(|input| Event::Reported(Box::new(Report { input: Some(input), output: Some(0), ..Report::default() })));
    let Some(vectors) = vectors else {
        let error = fault::in_words("the provider's answer has no vectors that can be read");
        return Some(report.into_iter().chain([Event::Failed(Failure::Provider(Box::new(error)))]).collect());
    };
    let delta = Event::Delta(Delta { made: Some(Box::new(Made::Vectors(vectors))), ..Delta::default() });
    Some([delta].into_iter().chain(report).chain([FINISHED]).collect())
}

/// Cohere's vectors, by their type, or Google's, each with its name.
fn vectors_of(json: &str) -> Option<Vec<Vec<f32>>> {
    let embeddings: Value = serde_json::from_str(json).ok()?;
    if let Some(vectors) = embeddings.get("float") {
        return serde_json::from_value(vectors.clone()).ok();
    }
    let values = embeddings.as_array()?.iter().map(|one| serde_json::from_value(one["values"].clone()));
    values.collect::<Result<_, _>>().ok()
}

/// The events of an answer that must have this many vectors. One with fewer or more is none: whose vector is whose can't
/// be told. What the provider reports of its use stays.
pub(super) fn checked(events: Vec<Event>, wanted: usize) -> Vec<Event> {
    let had: usize = events.iter().map(|event| if let Event::Delta(delta) = event { count_of(delta) } else { 0 }).sum();
    let is_whole = events.iter().any(|event| matches!(event, Event::Finished { .. }));
    if !is_whole || had == wanted {
        return events;
    }
    let error = fault::in_words(format!("the provider's answer has {had} vectors for {wanted} inputs"));
    let stay = |event: &Event| !matches!(event, Event::Delta(_) | Event::Finished { .. });
    let failed = Event::Failed(Failure::Provider(Box::new(error)));
    events.into_iter().filter(stay).chain([failed]).collect()
}

/// The numbers of a delta's vectors, each in the order of its inputs: its own, or those of OpenAI's answer.
pub(super) fn floats(delta: &Delta) -> Vec<Vec<f32>> {
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        index: usize,
        embedding: Said,
    }
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Said {
        Numbers(Vec<f32>),
        Base64(String),
    }
    if let Some(vectors) = delta.vectors() {
        return vectors.to_vec();
    }
    let data = delta.raw.of(Format::OpenAiEmbeddings).and_then(|raw| raw.present("data"));
    let mut entries: Vec<Object<Entry>> = data.and_then(read_as).unwrap_or_default();
    entries.sort_by_key(|Object(entry)| entry.index);
    let numbers = |said| match said {
        Said::Numbers(numbers) => numbers,
        Said::Base64(text) => of_base64(&text),
    };
    entries.into_iter().map(|Object(entry)| numbers(entry.embedding)).collect()
}

/// The floats of such a text; none where it is another.
fn of_base64(text: &str) -> Vec<f32> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    let (numbers, rest) = bytes.as_chunks::<4>();
    if rest.is_empty() { numbers.iter().map(|number| f32::from_le_bytes(*number)).collect() } else { Vec::new() }
}

/// Little-endian 32-bit floats in base64 (RFC 4648).
pub(super) fn base64(vector: &[f32]) -> String {
    use base64::Engine as _;
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// An entry of OpenAI's answer, whose vector is not read.
#[derive(serde::Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
}

/// Whether a value is a vector: numbers, none of which is missing, or their base64.
pub(super) fn is_vector(json: &str) -> bool {
    let numbers = json.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_of_numbers = numbers.is_some_and(|numbers| !numbers.trim().is_empty() && !numbers.contains("null"));
    is_of_numbers || json.starts_with('"') && json.len() > 2
}

/// The number of vectors that a delta has. What is null in the place of one is none.
fn count_of(delta: &Delta) -> usize {
    if let Some(raw) = delta.raw.of(Format::CohereEmbed) {
        return embed::vectors_in(raw);
    }
    if let Some(own) = delta.raw.of(Format::GeminiEmbeddings) {
        return gemini::vectors_in(own);
    }
    let data = delta.raw.of(Format::OpenAiEmbeddings).and_then(|raw| raw.present("data"));
    match (delta.vectors(), data) {
        (Some(vectors), _) => vectors.len(),
        (None, Some(data)) => {
            let all: Vec<Object<Whole<'_>>> = read_as(data).unwrap_or_default();
            all.iter().filter(|Object(entry)| is_vector(entry.embedding.get())).count()
        }
        (None, None) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{
        ProviderFormat,
        cohere::Cohere,
        gemini::Gemini,
        mistral::Mistral,
        openai::{OpenAi, read_embedding},
    };
    use crate::inference::Raw;

    const UPSTREAM: Upstream<'_> = Upstream { model: "up", max_output: 0, tier: None };

    fn asked(fields: &str) -> Request {
        read_embedding(format!(r#"{{"model":"m","input":["a","b"]{fields}}}"#).as_bytes()).unwrap()
    }

    fn body(call: &ProviderCall) -> Value {
        serde_json::from_str(&call.body.to_json()).unwrap()
    }

    #[test]
    fn vectors_in_base64_are_read_as_their_numbers() {
        let body = format!(r#"{{"data":[{{"embedding":"{}","index":0}}]}}"#, base64(&[0.5, -2.0]));
        let raw = Raw::Own(Format::OpenAiEmbeddings, Fields::parse(body.as_bytes()).unwrap());
        let delta = Delta { raw, ..Delta::default() };
        assert_eq!((count_of(&delta), floats(&delta)), (1, vec![vec![0.5, -2.0]]));
    }

    #[test]
    fn each_provider_is_asked_in_its_words() {
        let more = r#","dimensions":256,"encoding_format":"base64","user":"u""#;
        let call = Mistral.call(asked(more), &UPSTREAM).unwrap();
        let expected =
            json!({"model": "up", "input": ["a", "b"], "output_dimension": 256, "encoding_format": "base64"});
        assert_eq!((&*call.path, call.format, body(&call)), ("/embeddings", Format::OpenAiEmbeddings, expected));
        let call = Cohere.call(asked(more), &UPSTREAM).unwrap();
        let expected = json!({"model": "up", "texts": ["a", "b"], "input_type": "search_document",
            "embedding_types": ["float"], "output_dimension": 256});
        assert_eq!((&*call.path, body(&call)), ("/embed", expected));
        let call = Gemini.call(asked(r#","input_type":"search_query""#), &UPSTREAM).unwrap();
        let one = |text: &str| json!({"model": "models/up", "content": {"parts": [{"text": text}]}, "taskType": "RETRIEVAL_QUERY"});
        assert_eq!(
            (&*call.path, body(&call)),
            ("/models/up:batchEmbedContents", json!({"requests": [one("a"), one("b")]}))
        );
    }

    #[test]
    fn what_a_provider_has_no_words_for_is_refused_by_its_name() {
        let formats: [(&dyn ProviderFormat, usize); 3] = [(&Mistral, 5_000), (&Cohere, 97), (&Gemini, 101)];
        for (format, many) in formats {
            let refused = |request: Request| match format.call(request, &UPSTREAM) {
                Err(Failure::Invalid { field, .. }) => field,
                other => panic!("{other:?}"),
            };
            assert_eq!(refused(asked(r#","output_dtype":"int8""#)), "output_dtype");
            assert_eq!(refused(asked(r#","input":[1,2]"#)), "input");
            if many < 2_048 {
                let texts: Vec<_> = (0..many).map(|number| number.to_string()).collect();
                assert_eq!(refused(asked(&format!(r#","input":{}"#, json!(texts)))), "input");
            }
        }
    }

    #[test]
    fn vectors_and_their_usage_are_read() {
        let cohere = br#"{"id":"e","embeddings":{"float":[[0.5,-1.0]]},"texts":["a"],"meta":{"billed_units":{"input_tokens":3.0}}}"#;
        let google = br#"{"embeddings":[{"values":[0.5,-1.0]}],"usageMetadata":{"promptTokenCount":3}}"#;
        for (events, name) in [
            (Cohere.read_whole(Format::Cohere, cohere), "cohere"),
            (Gemini.read_whole(Format::Gemini, google), "google"),
        ] {
            let [Event::Delta(delta), Event::Reported(report), Event::Finished { .. }] = &events[..] else {
                panic!("{name}: {events:?}")
            };
            assert_eq!(delta.vectors(), Some(&[vec![0.5, -1.0]][..]), "{name}");
            assert_eq!((report.input, report.output), (Some(3), Some(0)), "{name}");
        }
        let silent = Gemini.read_whole(Format::Gemini, br#"{"embeddings":[{"values":[0.5]}]}"#);
        assert_eq!(silent.len(), 2, "what is not told is counted elsewhere");
        assert_eq!(answer(br#"{"message":"x"}"#), None);
        for broken in [r#"{"float":[]}"#, r#"{"float":[[null]]}"#, "[]", "7", r#"[{"values":"x"}]"#] {
            let body = format!(r#"{{"embeddings":{broken},"meta":{{"billed_units":{{"input_tokens":3.0}}}}}}"#);
            let events = Cohere.read_whole(Format::Cohere, body.as_bytes());
            assert!(matches!(&events[..], [Event::Reported(_), Event::Failed(_)]), "{broken}: {events:?}");
        }
    }
    #[test]
    fn an_answer_with_another_number_of_vectors_failed_and_its_use_is_told() {
        let own = r#"{"data":[{"embedding":[0.5],"index":0}ONE],"usage":{"prompt_tokens":3,"total_tokens":3}}"#;
        let google = r#"{"embeddings":[{"values":[0.5]}TWO],"usageMetadata":{"promptTokenCount":3}}"#;
        let cohere = r#"{"embeddings":{"float":[[0.5]THREE]},"meta":{"billed_units":{"input_tokens":3}}}"#;
        let formats: [(&dyn ProviderFormat, &str, &str); 4] = [
            (&OpenAi, own, r#",{"embedding":[0.5],"index":1}"#),
            (&Mistral, own, r#",{"embedding":[0.5],"index":1}"#),
            (&Gemini, google, r#",{"values":[0.5]}"#),
            (&Cohere, cohere, ",[0.5]"),
        ];
        for (format, answer, one) in formats {
            let call = format.call(asked(""), &UPSTREAM).unwrap();
            let read = |more: &str| {
                let body =
                    ["ONE", "TWO", "THREE"].into_iter().fold(answer.to_owned(), |body, gap| body.replace(gap, more));
                call.read_whole(format, body.as_bytes())
            };
            assert!(
                matches!(&read(one)[..], [Event::Delta(_), Event::Reported(_), Event::Finished { .. }]),
                "{answer}"
            );
            for other in [String::new(), one.repeat(2)] {
                let events = read(&other);
                let [Event::Reported(report), Event::Failed(Failure::Provider(error))] = &events[..] else {
                    panic!("{events:?}")
                };
                assert_eq!((report.input, error.status), (Some(3), 200));
                assert!(error.message.ends_with("vectors for 2 inputs"), "{}", error.message);
            }
            let events = read(&one.replace("[0.5]", "null"));
            assert!(matches!(&events[..], [Event::Reported(_), Event::Failed(Failure::Provider(_))]), "{events:?}");
        }
    }
}
