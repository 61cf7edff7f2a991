use billing::{Nanos, hold::HoldRequest};
use proptest::prelude::*;
use wire::{
    format::openai::media::{edits::read_edit, images::read_images, speech::read_speech, transcriptions::read_form},
    usage::Report,
};

use super::{
    super::{Plan, Target, UsageTerms, closed},
    *,
};
use crate::{
    catalogue::{Catalogue, Model},
    gateway::meter::report::{Capacity, Known},
};

fn model(name: &str) -> Arc<ClosedModel> {
    let Ok(Model::Closed(model)) = Catalogue::built_in().unwrap().find(name) else { panic!("{name}") };
    model
}

fn bounded(name: &str, max_output: u32) -> Arc<ClosedModel> {
    Arc::new(ClosedModel { max_output, ..ClosedModel::clone(&model(name)) })
}

fn terms(plan: Plan) -> (UsageTerms, HoldRequest) {
    let Target::Closed(terms) = plan.target else { panic!() };
    (terms, plan.hold)
}

fn refused(plan: Result<Plan, ServeError>) -> String {
    match plan {
        Err(ServeError::Invalid { field, .. }) => field.into_owned(),
        other => format!("{other:?}"),
    }
}

fn speech(model: &Arc<ClosedModel>, fields: &str, payer: Payer) -> Result<Plan, ServeError> {
    let body = format!(r#"{{"model":"m","input":"héllo wörld","voice":"alloy"{fields}}}"#);
    closed::plan(model, &read_speech(body.as_bytes()).unwrap(), payer)
}

/// Ten seconds of silence, as the telephone has it.
fn recording(seconds: u32) -> Vec<u8> {
    let data = seconds * 8_000;
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x07\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data".to_vec();
    file.extend_from_slice(&data.to_le_bytes());
    file.extend(std::iter::repeat_n(0xFF, data as usize));
    file
}

fn transcription(
    model: &Arc<ClosedModel>,
    fields: &[(&str, &str)],
    file: &[u8],
    payer: Payer,
) -> Result<Plan, ServeError> {
    let mut form = b"--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n".to_vec();
    form.extend_from_slice(file);
    for (name, value) in [("model", "m")].iter().chain(fields) {
        let part = format!("\r\n--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}");
        form.extend_from_slice(part.as_bytes());
    }
    form.extend_from_slice(b"\r\n--x--");
    let request = read_form("multipart/form-data; boundary=x", &form.into(), false).unwrap();
    closed::plan(model, &request, payer)
}

fn images(model: &Arc<ClosedModel>, fields: &str, payer: Payer) -> Result<Plan, ServeError> {
    let body = format!(r#"{{"model":"m","prompt":"a cat"{fields}}}"#);
    closed::plan(model, &read_images(body.as_bytes()).unwrap(), payer)
}

fn edits(model: &Arc<ClosedModel>, images: usize, fields: &str, payer: Payer) -> Result<Plan, ServeError> {
    let images = vec![r#"{"image_url":"https://x/y.png"}"#; images].join(",");
    let body = format!(r#"{{"model":"m","prompt":"a hat","images":[{images}]{fields}}}"#);
    closed::plan(model, &read_edit(body.as_bytes()).unwrap(), payer)
}

const CREDITS: Payer = Payer::Credits;

#[test]
fn characters_cost_what_they_are_before_anything_runs() {
    let plan = speech(&model("tts-1"), "", CREDITS).unwrap();
    let known = plan.known_cost().unwrap();
    let (terms, hold) = terms(plan);
    // 11 x 15 / 1e6 x 1.02
    assert_eq!((known, hold.worst_case, hold.minimum), (Nanos::new(168_300), Nanos::new(168_300), Nanos::new(168_300)));
    assert_eq!(terms.least().unwrap(), known);
    assert_eq!(refused(speech(&model("tts-1"), r#","max_cost":"0.0001""#, CREDITS)), "max_cost");
    assert_eq!(speech(&model("tts-1"), "", Payer::OwnKey).unwrap().known_cost(), Some(Nanos::ZERO));
    assert_eq!(speech(&model("tts-1-hd"), "", CREDITS).unwrap().known_cost(), Some(Nanos::new(336_600)));
}

#[test]
fn tokens_of_sound_are_held_to_their_bound_and_refused_without_one() {
    let name = "gpt-4o-mini-tts-2025-12-15";
    assert_eq!(refused(speech(&model(name), "", CREDITS)), "model");
    assert!(speech(&model(name), "", Payer::OwnKey).is_ok());
    let (_, hold) = terms(speech(&bounded(name, 2_000), "", CREDITS).unwrap());
    // 2,000 x 12 / 1e6 x 1.02, and less than 300 x 0.6 / 1e6 x 1.02 for the text.
    let sound = 24_480_000;
    assert!((sound..sound + 183_600).contains(&hold.worst_case.get()), "{hold:?}");
    assert!(matches!(speech(&model("gpt-4o-mini-tts"), "", CREDITS), Err(ServeError::Unpriced(_))), "it is disputed");
}

#[test]
fn a_recording_is_held_for_as_long_as_it_lasts() {
    let whisper = model("whisper-1");
    let (terms, hold) = terms(transcription(&whisper, &[], &recording(10), CREDITS).unwrap());
    // 11 seconds: one more than it has, for rounding. 11 x 0.0001 x 1.02
    assert_eq!(hold.worst_case, Nanos::new(1_122_000));
    assert_eq!(terms.least().unwrap(), Nanos::new(1_020_000));
    assert_eq!(refused(transcription(&whisper, &[], b"no recording at all", CREDITS)), "file");
    assert!(transcription(&whisper, &[], b"no recording at all", Payer::OwnKey).is_ok());
    assert!(
        transcription(&whisper, &[("response_format", "srt"), ("chunking_strategy", "auto")], &recording(1), CREDITS)
            .is_ok()
    );
}

#[test]
fn a_recording_that_is_billed_by_tokens_is_held_for_all_that_the_model_reads() {
    let model = model("gpt-4o-mini-transcribe-2025-12-15");
    let (_, hold) = terms(transcription(&model, &[], &recording(10), CREDITS).unwrap());
    // (16,000 x 1.25 + 2,000 x 5) / 1e6 x 1.02
    assert_eq!(hold.worst_case, Nanos::new(30_600_000));
    for (fields, field) in
        [(("response_format", "vtt"), "response_format"), (("chunking_strategy", "auto"), "chunking_strategy")]
    {
        assert_eq!(refused(transcription(&model, &[fields], &recording(10), CREDITS)), field);
        assert!(transcription(&model, &[fields], &recording(10), Payer::OwnKey).is_ok());
    }
    let unbounded = Arc::new(ClosedModel { context: 0, ..ClosedModel::clone(&model) });
    assert_eq!(refused(transcription(&unbounded, &[], &recording(10), CREDITS)), "model");
}

#[test]
fn images_are_held_by_size_and_quality_and_refused_where_nothing_bounds_them() {
    let held = |name: &str, fields: &str| terms(images(&model(name), fields, CREDITS).unwrap()).1.worst_case.get();
    let text = (2 + AROUND.cast_signed()) * 10 * 1_020;
    // 272 x 40 / 1e6 x 1.02, and the text at the dearest rate that input has.
    assert_eq!(held("gpt-image-1", r#","size":"1024x1024","quality":"low""#), 272 * 40 * 1_020 + text);
    assert_eq!(held("gpt-image-1", ""), 6_240 * 40 * 1_020 + text);
    assert_eq!(held("gpt-image-1", r#","n":3,"quality":"low","size":"1024x1024""#), 3 * (272 * 40 * 1_020 + text));
    let partial = r#","partial_images":2,"stream":true,"quality":"low","size":"1024x1024""#;
    assert_eq!(held("gpt-image-1", partial), 472 * 40 * 1_020 + text);
    assert!(held("gpt-image-2", "") > 7_000 * 30 * 1_020);
    assert!(held("gpt-image-2.5-flare", r#","size":"3840x2160","quality":"high""#) > 3_336 * 30 * 1_020);
    let refusal = |name: &str, fields: &str| refused(images(&model(name), fields, CREDITS));
    assert_eq!(refusal("gpt-image-1", r#","size":"2048x2048""#), "size");
    assert_eq!(refusal("gpt-image-2", r#","size":"4096x1024""#), "size");
    assert_eq!(refusal("gpt-image-1", r#","quality":"hd""#), "quality");
    assert_eq!(refusal("gpt-image-2.6-flare", ""), "model");
    assert_eq!(refusal("tts-1", ""), "model");
    assert!(images(&bounded("gpt-image-2.6-flare", 20_000), r#","size":"2048x2048""#, CREDITS).is_ok());
    assert!(images(&model("gpt-image-2.6-flare"), "", Payer::OwnKey).is_ok());
    let flat: Price = toml::from_str("each = { 'images.output' = '0.04' }").unwrap();
    let by_image =
        Arc::new(ClosedModel { price: Some(Arc::new(flat)), ..ClosedModel::clone(&model("gpt-image-2.6-flare")) });
    let (_, hold) = terms(images(&by_image, r#","n":2"#, CREDITS).unwrap());
    assert_eq!(hold.worst_case, Nanos::new(81_600_000));
}

#[test]
fn images_that_are_edited_are_held_at_the_most_that_one_may_be_read_as() {
    let held = |images: usize, fields: &str| {
        terms(edits(&model("gpt-image-2"), images, fields, CREDITS).unwrap()).1.worst_case.get()
    };
    // 196 x 30 / 1e6 x 1.02 for the image, and what is read at the dearest rate that input has: 6,821 tokens an image.
    let drawn = 196 * 30 * 1_020;
    let read = |images: i64| (2 + AROUND.cast_signed() * (images + 1) + images * 6_821) * 8 * 1_020;
    assert_eq!(held(1, r#","quality":"low""#), drawn + read(1));
    assert_eq!(held(16, r#","quality":"low""#), drawn + read(16));
    assert_eq!(held(2, r#","quality":"low","n":3"#), 3 * (drawn + read(2)));
    assert_eq!(held(1, r#","quality":"low","mask":{"image_url":"https://x/m.png"}"#), drawn + read(2));
    assert_eq!(refused(edits(&model("gpt-image-2.6-flare"), 1, "", CREDITS)), "model");
    assert_eq!(refused(edits(&model("gpt-image-2"), 1, r#","mask":{"file_id":"f"}"#, CREDITS)), "mask.file_id");
    assert!(edits(&model("gpt-image-2.6-flare"), 1, r#","mask":{"file_id":"f"}"#, Payer::OwnKey).is_ok());
}

#[test]
fn the_catalogue_knows_which_models_have_no_bound() {
    for (name, is_bounded) in [
        ("gpt-image-1", true),
        ("gpt-image-2", true),
        ("gpt-image-2.6-flare", false),
        ("tts-1", true),
        ("gpt-4o-mini-tts-2025-03-20", false),
        ("whisper-1", true),
        ("gpt-6-sol", true),
    ] {
        assert_eq!(Media::check(&model(name)).is_ok(), is_bounded, "{name}");
    }
    assert!(Media::check(&bounded("gpt-image-2.6-flare", 9)).is_ok());
}

/// What is charged where the provider reports this.
fn charged(terms: &UsageTerms, report: Option<Report>) -> (Nanos, bool) {
    let media = terms.media.as_ref().unwrap();
    let Most { input, output, milliseconds, images } = media.can;
    let can = Capacity { input, output, milliseconds, images, searches: 0, fetches: 0, search_units: 0 };
    let mut known = Known::default();
    if let Some(report) = report {
        known.hear(report, 0, can);
    }
    let used = known.made(media);
    (terms.price.charge(&used.quantities).cost.charged().unwrap(), used.estimated)
}

#[test]
fn what_is_reported_is_charged_and_what_is_not_is_counted() {
    let (whisper, _) = terms(transcription(&model("whisper-1"), &[], &recording(10), CREDITS).unwrap());
    let told = |milliseconds| charged(&whisper, Some(Report { milliseconds: Some(milliseconds), ..Report::default() }));
    assert_eq!(charged(&whisper, None), (Nanos::new(1_020_000), true));
    assert_eq!(told(11_000), (Nanos::new(1_122_000), false));
    assert_eq!(told(120_000), (Nanos::new(12_240_000), false), "the file lied, and its provider did not");
    assert_eq!(told(1_000_000_000), (Nanos::new(1_020_000), true), "nonsense is absent");
    let (cat, _) = terms(images(&model("gpt-image-1"), r#","quality":"low","size":"1024x1024""#, CREDITS).unwrap());
    let report = Report { input: Some(10), output: Some(272), image_output: 272, images: Some(1), ..Report::default() };
    // (10 x 5 + 272 x 40) / 1e6 x 1.02
    assert_eq!(charged(&cat, Some(report)), (Nanos::new(11_148_600), false));
    let (nothing, estimated) = charged(&cat, Some(Report { images: Some(1), ..Report::default() }));
    assert!(nothing.get() > 272 * 40 * 1_020 && estimated);
    let (said, _) = terms(speech(&model("tts-1"), "", CREDITS).unwrap());
    assert_eq!(
        charged(&said, Some(Report { input: Some(9), output: Some(9), ..Report::default() })).0,
        Nanos::new(168_300)
    );
}

proptest! {
    #[test]
    fn no_charge_within_the_bounds_is_more_than_the_hold(
        which in 0..7_usize,
        seconds in 1..40_u32,
        of_most in (0..=100_u64, 0..=100_u64),
        parts in (0..=100_u64, 0..=100_u64),
        is_told in any::<bool>(),
    ) {
        let plan = match which {
            0 => speech(&model("tts-1-hd"), "", CREDITS),
            1 => speech(&bounded("gpt-4o-mini-tts-2025-03-20", 3_000), r#","instructions":"slowly""#, CREDITS),
            2 => transcription(&model("whisper-1"), &[], &recording(seconds), CREDITS),
            3 => transcription(&model("gpt-4o-mini-transcribe-2025-03-20"), &[("prompt", "names")], &recording(seconds), CREDITS),
            4 => edits(&model("gpt-image-2.5-flare"), 3, r#","n":2,"size":"1536x864""#, CREDITS),
            5 => images(&model("gpt-image-1-mini"), r#","n":2,"quality":"medium""#, CREDITS),
            _ => images(&bounded("gpt-image-2.6-sunburst", 9_000), r#","stream":true,"partial_images":3"#, CREDITS),
        };
        let (terms, hold) = terms(plan.unwrap());
        let can = terms.media.as_ref().unwrap().can;
        let part = |of: u64, percent: u64| of * percent / 100;
        let (input, output) = (part(can.input, of_most.0), part(can.output, of_most.1));
        let report = Report {
            input: Some(input),
            output: Some(output),
            audio_input: part(input, parts.0),
            image_input: part(input, 100 - parts.0),
            cached_input: part(input, parts.1 / 2),
            audio_output: part(output, parts.1),
            image_output: part(output, 100 - parts.1),
            milliseconds: Some(u64::from(seconds) * 1_000 + part(1_000, of_most.0)),
            ..Report::default()
        };
        let (cost, _) = charged(&terms, is_told.then_some(report));
        prop_assert!(cost <= hold.worst_case, "{cost} of {:?}", hold);
        prop_assert!(terms.least().unwrap() <= hold.worst_case);
    }
}
