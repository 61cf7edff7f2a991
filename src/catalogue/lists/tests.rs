//! Excerpts of the two lists as they are published, and what becomes of them.

use std::sync::Arc;

use billing::{Timestamp, price::Price};

use super::{Listed, Reading, genai, litellm, merge};
use crate::catalogue::{About, Book, ClosedModel};

const LITELLM: &str = include_str!("../../../tests/fixtures/prices/litellm.json");
const GENAI: &str = include_str!("../../../tests/fixtures/prices/genai.json");
/// Prices that another program read from the two lists.
const AGREED: &str = include_str!("../../../tests/fixtures/prices/agreed.csv");

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn litellm() -> Reading {
    litellm::read(LITELLM, Some("1.110.2")).unwrap()
}

fn genai() -> Reading {
    genai::read(GENAI, Some("0.2.3"), at("2026-11-28")).unwrap()
}

fn find<'a>(reading: &'a Reading, id: &str) -> &'a Listed {
    reading.models.iter().find(|listed| listed.id == id).unwrap_or_else(|| panic!("{id} is not there"))
}

/// The rates as files write a key: per unit.
fn rates(listed: &Listed) -> Vec<String> {
    listed.rates.iter().map(|(key, rate)| format!("{key}={rate}")).collect()
}

fn has(listed: &Listed, wanted: &[&str]) {
    let rates = rates(listed);
    for one in wanted {
        assert!(rates.iter().any(|rate| rate == one), "{}: {one} is not in {rates:?}", listed.id);
    }
}

fn merged(there: &[Arc<ClosedModel>], reading: &Reading) -> (Vec<Arc<ClosedModel>>, merge::Report) {
    let (all, report) = merge::merge(there, reading, "2026-11-28");
    (all.into_values().map(Arc::new).collect(), report)
}

fn entry<'a>(all: &'a [Arc<ClosedModel>], id: &str) -> &'a ClosedModel {
    all.iter().find(|model| *model.id == *id).unwrap_or_else(|| panic!("{id} is not there"))
}

/// A list of one model with these fields.
fn one(version: &str, fields: &str) -> Reading {
    let text = format!(
        "{{\"m\": {{\"litellm_provider\": \"openai\", \"mode\": \"chat\", \"max_input_tokens\": 8, \
         \"max_output_tokens\": 8, {fields}}}}}"
    );
    litellm::read(&text, Some(version)).unwrap()
}

/// The other list of one model with these prices.
fn other(prices: &str) -> Reading {
    let model = format!("{{\"id\": \"m\", \"context_window\": 16, \"prices\": {prices}}}");
    let text = format!("[{{\"id\": \"openai\", \"models\": [{model}]}}]");
    genai::read(&text, Some("0.2.3"), at("2026-11-28")).unwrap()
}

const FIELDS: &str = "\"input_cost_per_token\": 1e-06, \"output_cost_per_token\": 2e-06, \"input_cost_per_token_flex\": 5e-07, \
                      \"output_cost_per_token_flex\": 1e-06";

#[test]
fn litellms_list_is_read_as_it_is_published() {
    let list = litellm();
    assert_eq!(list.name, "litellm 1.110.2");
    has(find(&list, "gpt-4o-mini"), &["tokens.input=0.00000015", "tokens.input.cache_read=0.000000075"]);
    has(find(&list, "gpt-5.4-2026-03-05"), &["tokens.input.above_272000=0.000005", "tokens.output.flex=0.0000075"]);
    has(
        find(&list, "claude-haiku-5-5"),
        &["tokens.input.cache_write_1h.above_100000=0.000001", "tokens.output.batch=0.00000025"],
    );
    has(find(&list, "mistral-ocr-latest"), &["pages.input=0.004", "annotated_pages.input.batch=0.0025"]);
    has(find(&list, "gpt-4.1-2025-04-14"), &["web_searches=0.025"]);
    assert_eq!(rates(find(&list, "rerank-v3.5")), ["search_units=0.002"], "its tokens are not free beside it");
    assert_eq!(rates(find(&list, "whisper-1")), ["milliseconds.input=0.0000001"], "not read and written");
    assert_eq!(rates(find(&list, "tts-1")), ["characters.input=0.000015"]);
    assert_eq!(find(&list, "gemini-3.8-flash").provider, "google");
    assert_eq!(find(&list, "gemini-exp-1114").doubt.as_deref(), Some("it costs nothing"));
    assert_eq!(find(&list, "whisper-1").ends, Some(at("2027-02-26")));
    let skipped: Vec<_> = list.skipped.iter().map(|(id, _)| &**id).collect();
    assert_eq!(skipped, ["openai/gpt-realtime", "openai/low/1024-x-1024/gpt-image-1"]);
    assert!(!list.models.iter().any(|listed| listed.id == "x"), "another provider's");
    assert!(litellm::read("[]", None).is_err() && litellm::read("{}", Some("1, 2")).is_err());
}

#[test]
fn genai_prices_list_is_read_at_a_time_with_what_is_announced() {
    let list = genai();
    let flash = find(&list, "gemini-3.8-flash");
    has(flash, &["tokens.input=0.00000075", "tokens.input.batch=0.000000375", "web_searches=0.014"]);
    let [(from, later)] = flash.changes.as_slice() else { panic!("{:?}", flash.changes) };
    assert_eq!((*from, later.len()), (at("2027-01-01"), 7));
    assert!(later.iter().any(|(key, rate)| format!("{key}={rate}") == "tokens.input.batch=0.00000075"));
    let then = genai::read(GENAI, None, at("2027-01-01")).unwrap();
    assert!(find(&then, "gemini-3.8-flash").changes.is_empty());
    has(find(&then, "gemini-3.8-flash"), &["tokens.input=0.0000015", "tokens.output=0.0000075"]);
    has(
        find(&list, "claude-sonnet-4-5"),
        &["tokens.input.above_200000=0.000006", "tokens.input.cache_write_1h=0.000006"],
    );
    has(find(&list, "mistral-ocr-latest"), &["pages.input=0.004", "annotated_pages.input=0.005"]);
    has(find(&list, "whisper-1"), &["milliseconds.input=0.0000001"]);
    let skipped: Vec<_> = list.skipped.iter().map(|(id, _)| &**id).collect();
    assert_eq!(skipped, ["google/claude-opus-5", "openai/ft:gpt-4o", "openai/gpt-realtime"]);
    let by_the_hour = "[{\"constraint\": {\"start_time\": \"00:30:00Z\"}, \"prices\": {\"input_mtok\": 1}}]";
    assert_eq!(other(by_the_hour).skipped.len(), 1);
    assert!(genai::read("{}", None, at("2026-11-28")).is_err());
}

#[test]
fn lists_that_agree_are_both_named_and_add_what_only_they_know() {
    let (all, _) = merged(&[], &litellm());
    let (all, report) = merged(&all, &genai());
    let flash = entry(&all, "gemini-3.8-flash");
    assert_eq!(flash.about.source, "litellm 1.110.2, genai-prices 0.2.3");
    assert_eq!(flash.about.changes.len(), 1);
    let rates: Vec<_> = flash.price.iter().flat_map(|price| price.rates()).map(|(key, _)| key.to_string()).collect();
    assert!(rates.contains(&"tokens.input.priority".to_owned()), "litellm alone has it");
    assert!(report.agreed > 5, "{report:?}");
    // Read again, nothing changes.
    for list in [litellm(), genai()] {
        assert_eq!(merged(&all, &list).0, all);
    }
}

#[test]
fn lists_that_contradict_each_other_are_disputed_with_both_numbers() {
    let (all, _) = merged(&[], &litellm());
    let (all, _) = merged(&all, &genai());
    let disputed = |id: &str| entry(&all, id).about.disputed.clone().unwrap_or_default();
    assert_eq!(
        disputed("claude-sonnet-4-5"),
        "prices above 200000 tokens: in genai-prices 0.2.3, not in litellm 1.110.2"
    );
    let numbers = disputed("mistral-large-latest");
    let both = "tokens.input: 0.50 in litellm 1.110.2, 2.00 in genai-prices 0.2.3";
    assert!(numbers.is_empty() || numbers.starts_with(both), "{numbers}");
    assert!(entry(&all, "claude-sonnet-4-5").price_at(at("2026-11-28")).is_none());

    let (all, _) = merged(&[], &one("1", FIELDS));
    let (all, report) = merged(&all, &other("{\"input_mtok\": 1, \"output_mtok\": 3}"));
    let reason = "tokens.output: 2.00 in litellm 1, 3.00 in genai-prices 0.2.3";
    assert_eq!(report.disputed, [("openai/m".to_owned(), reason.to_owned())]);
    // A newer list of the same project does not rule alone; once both say the same, nothing is disputed.
    let newer = FIELDS.replace("2e-06", "3e-06");
    let (all, _) = merged(&all, &one("2", &newer));
    assert_eq!(entry(&all, "m").about.disputed.as_deref(), Some(reason));
    let (all, _) = merged(&all, &other("{\"input_mtok\": 1, \"output_mtok\": 3}"));
    assert_eq!(entry(&all, "m").about.disputed, None);
    assert_eq!(entry(&all, "m").about.source, "litellm 2, genai-prices 0.2.3");
}

#[test]
fn a_tier_or_a_tool_that_is_contradicted_is_left_out_and_stays_so() {
    let fields = format!("{FIELDS}, \"search_context_cost_per_query\": {{\"search_context_size_low\": 0.025}}");
    let prices = "{\"input_mtok\": 1, \"output_mtok\": 2, \"web_searches_kcount\": 10}";
    let flex = "[{\"when\": {\"service_tier\": \"flex\"}, \"prices\": {\"input_mtok\": 0.9}}]";
    let given = format!("{prices}, \"price_variants\": {flex}");
    let (all, _) = merged(&[], &one("1", &fields));
    let (all, report) = merged(&all, &other(&given));
    let model = entry(&all, "m");
    assert_eq!((model.about.disputed.as_ref(), report.left_out.len()), (None, 2), "{report:?}");
    assert_eq!(model.about.left_out.keys().map(String::as_str).collect::<Vec<_>>(), ["flex", "web_searches"]);
    let keys = |model: &ClosedModel| {
        let rates = model.price.iter().flat_map(|price| price.rates());
        rates.map(|(key, _)| key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(keys(model), ["tokens.input", "tokens.output"]);
    let (all, _) = merged(&all, &one("1", &fields));
    assert_eq!(
        keys(entry(&all, "m")),
        ["tokens.input", "tokens.output"],
        "a list that is read again brings nothing back"
    );
}

#[test]
fn a_persons_entry_is_kept_and_what_a_list_says_otherwise_is_told() {
    let price = Arc::new(Price::per_million("4".parse().unwrap(), "8".parse().unwrap()).unwrap());
    let (all, _) = merged(&[], &one("1", FIELDS));
    let about = Arc::new(About { source: "our contract".into(), ..About::clone(&all[0].about) });
    let mine = Arc::new(ClosedModel { price: Some(price), about, ..ClosedModel::clone(&all[0]) });
    let (all, report) = merged(std::slice::from_ref(&mine), &one("2", FIELDS));
    assert_eq!(all, [mine]);
    let told =
        "tokens.input: 4.00 in the entry, 1.00 in litellm 2; tokens.output: 8.00 in the entry, 2.00 in litellm 2";
    assert_eq!(report.contradicted, [("openai/m".to_owned(), told.to_owned())]);
}

#[test]
fn a_chat_model_of_unknown_size_and_one_that_is_free_are_refused() {
    let (all, _) = merged(&[], &other("{\"input_mtok\": 0, \"output_mtok\": 0}"));
    assert_eq!(all[0].about.disputed.as_deref(), Some("genai-prices 0.2.3: it costs nothing"));
    let unknown =
        "[{\"id\": \"openai\", \"models\": [{\"id\": \"m\", \"prices\": {\"input_mtok\": 1, \"output_mtok\": 1}}]}]";
    let (all, _) = merged(&[], &genai::read(unknown, None, at("2026-11-28")).unwrap());
    assert_eq!(all[0].about.disputed.as_deref(), Some("genai-prices: it does not say how much the model reads"));
}

#[test]
fn where_both_lists_agree_the_built_in_price_is_theirs() {
    use billing::{price::Rate, quantity::Key};
    let book = Book::built_in().unwrap();
    let lines: Vec<_> = AGREED.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(lines.len() > 100);
    for line in lines {
        let [provider, id, input, output] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let is_it = |model: &&Arc<ClosedModel>| *model.id == *id && *model.provider == *provider;
        let price = book.entries().iter().find(is_it).and_then(|model| model.price.as_ref());
        let price = price.unwrap_or_else(|| panic!("{line}: no price"));
        for (key, dollars) in [(Key::INPUT, input), (Key::OUTPUT, output)] {
            assert_eq!(price.rate(key), Rate::of_list(dollars, 1_000_000), "{line}: {key}");
        }
    }
}
