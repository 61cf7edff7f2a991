//! Usage in the shapes in which servers of this format report it: under OpenAI's names and others' (`DeepSeek`'s,
//! Moonshot's, Anthropic's), at the top of an answer or nested. A missing or odd number is absent; the others stay.
//! This file knows no model and no price: whether a report is believed is decided elsewhere.
//!
//! Cached tokens are a part of the prompt, and reasoning a part of the output. Some servers count them separately: they
//! are read so where the total is exactly the sum with them, or where their names belong to a format that counts so.

use serde_json::{Number, Value};

use crate::{
    fields::{Fields, Pairs},
    usage::{Longer, Report, Tier},
};

/// Longer usage objects are not passed on: no real one is as long.
const LARGEST_OBJECT: usize = 64 * 1_024;
/// The largest float that stands for exactly one whole number: 2^53.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// The names of a prompt's details, and of an output's.
const PROMPT_DETAILS: [&str; 3] = ["prompt_tokens_details", "input_tokens_details", "input_token_details"];
const OUTPUT_DETAILS: [&str; 2] = ["completion_tokens_details", "output_tokens_details"];
/// The names of tokens read from a cache: within the prompt's details, and outside.
const READ_WITHIN: [&str; 3] = ["cached_tokens", "cache_read_tokens", "cache_read_input_tokens"];
const READ: [&str; 3] = ["prompt_cache_hit_tokens", "cached_tokens", "cached_prompt_text_tokens"];
/// The same for tokens written to a cache.
const WRITTEN_WITHIN: [&str; 2] = ["cache_write_tokens", "cache_creation_tokens"];
const WRITTEN: [&str; 1] = ["cache_write_tokens"];
/// The details of writes by how long they are kept, and the names of both times there.
const KEPT_WITHIN: [&str; 2] = ["cache_write_tokens_details", "cache_creation_token_details"];
const KEPT: [&str; 2] = ["cache_creation", "cache_write_tokens_details"];
const USUAL: [&str; 2] = ["ttl_30m_tokens", "ephemeral_5m_input_tokens"];
const LONG: [&str; 2] = ["ttl_12h_tokens", "ephemeral_1h_input_tokens"];
/// Where Anthropic tells them apart.
const ANTHROPICS: &str = "ephemeral_1h_input_tokens";
/// Sound and pictures within the details.
const AUDIO: &str = "audio_tokens";
const IMAGE: &str = "image_tokens";
/// What reasoning is called within the output's details, and beside them.
const THOUGHT_WITHIN: [&str; 2] = ["reasoning_tokens", "thinking_tokens"];
const THOUGHT: [&str; 1] = ["reasoning_tokens"];

/// The usage that an answer or a chunk reports, anywhere in it; `None` where all numbers are zero or odd. Numbers at
/// the top count before nested ones.
pub(super) fn report(answer: &Fields) -> Option<Report> {
    let within = ["x_groq", "message", "response"].into_iter().filter_map(|name| {
        let object = answer.present(name).filter(|object| object.contains("\"usage\""))?;
        let object = Fields::of(object).ok()?;
        read(object.present("usage")?)
    });
    let choices = answer.present("choices").filter(|choices| choices.contains("\"usage\""));
    let of_choices = choices.and_then(|choices| serde_json::from_str::<Vec<Value>>(choices).ok());
    let of_choices = of_choices.into_iter().flatten().filter_map(|choice| {
        let places = [Some(&choice), choice.get("message"), choice.get("delta")];
        let usage = places.into_iter().flatten().find_map(|place| place.get("usage").filter(|usage| usage.is_object()));
        read(&usage?.to_string())
    });
    let top = answer.present("usage").and_then(read);
    let report = within.chain(of_choices).chain(top).reduce(Report::gain)?;
    let tier = answer.present("service_tier").and_then(|text| serde_json::from_str::<String>(text).ok());
    Some(Report { tier: tier.and_then(|word| Tier::from_word(&word)).or(report.tier), ..report })
}

/// Reads one usage object.
fn read(text: &str) -> Option<Report> {
    let counts = Counts::of(text)?;
    let cache = counts.cache();
    let named = Named {
        prompt: counts.prompt(&cache),
        output: counts.first(&["completion_tokens", "output_tokens"]),
        cache: cache.read.saturating_add(cache.written),
        thought: counts.largest(&counts.output_details, &THOUGHT_WITHIN, &THOUGHT).unwrap_or(0),
    };
    let (input, output) = named.resolved(counts.first(&["total_tokens"]), cache.counts);
    let tools = within(&counts.object, &["server_tool_use"]);
    let part = |details: &[Pairs<'_>], name: &str| counts.largest(details, &[name], &[]).unwrap_or(0);
    let is_nothing = input.unwrap_or(0) == 0 && output.unwrap_or(0) == 0;
    let own = (text.len() <= LARGEST_OBJECT).then(|| text.into());
    let report = Report {
        input,
        largest_prompt: None,
        listed_input: 0,
        cached_input: cache.read,
        cache_write: cache.written,
        cache_write_long: cache.long,
        longer: cache.longer,
        audio_input: part(&counts.prompt_details, AUDIO),
        image_input: part(&counts.prompt_details, IMAGE),
        output,
        reasoning: named.thought,
        audio_output: part(&counts.output_details, AUDIO),
        image_output: part(&counts.output_details, IMAGE),
        web_searches: part(&tools, "web_search_requests"),
        web_fetches: part(&tools, "web_fetch_requests"),
        search_units: None,
        milliseconds: None,
        images: None,
        tier: counts.object.get("service_tier").and_then(|text| Tier::from_word(text.trim_matches('"'))),
        apart: None,
        is_free: false,
        own,
    };
    (!is_nothing).then(|| report.fitted())
}

/// A usage object, read for its counts.
struct Counts<'a> {
    object: Pairs<'a>,
    prompt_details: Vec<Pairs<'a>>,
    output_details: Vec<Pairs<'a>>,
}

/// How an object counts cached tokens, where its total does not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counting {
    /// Within the prompt, as OpenAI does.
    Within,
    /// Within the prompt, unless they are more than the prompt.
    WithinIfFits,
    /// Besides the prompt, as Anthropic does.
    Beside,
}

/// An object's numbers on its cache.
struct Cache {
    read: u64,
    written: u64,
    /// The part of `written` that is kept for longer, where the object has it.
    long: Option<u64>,
    longer: Longer,
    counts: Counting,
}

impl<'a> Counts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let object = Pairs::of(text)?;
        let (prompt_details, output_details) = (within(&object, &PROMPT_DETAILS), within(&object, &OUTPUT_DETAILS));
        Some(Self { object, prompt_details, output_details })
    }

    fn first(&self, names: &[&str]) -> Option<u64> {
        names.iter().find_map(|name| count(self.object.get(name)?))
    }

    /// The largest value among a number's names, within details and outside.
    fn largest(&self, details: &[Pairs<'_>], within: &[&str], beside: &[&str]) -> Option<u64> {
        let within = details.iter().flat_map(|detail| within.iter().filter_map(|name| count(detail.get(name)?)));
        within.chain(beside.iter().filter_map(|name| count(self.object.get(name)?))).max()
    }

    /// The prompt, or the sum of its two parts where only those are named.
    fn prompt(&self, cache: &Cache) -> Option<u64> {
        let missed = || Some(cache.read.saturating_add(self.first(&["prompt_cache_miss_tokens"])?));
        self.first(&["prompt_tokens", "input_tokens"]).or_else(missed)
    }

    fn cache(&self) -> Cache {
        let (read, written) = (self.first(&["cache_read_input_tokens"]), self.first(&["cache_creation_input_tokens"]));
        let mut kept = within(&self.object, &KEPT);
        kept.extend(self.prompt_details.iter().flat_map(|details| within(details, &KEPT_WITHIN)));
        let of =
            |names: &[&str]| kept.iter().flat_map(|kept| names.iter().filter_map(|name| count(kept.get(name)?))).max();
        let (usual, long) = (of(&USUAL), of(&LONG));
        let is_anthropics = written.is_some() || kept.iter().any(|kept| kept.get(ANTHROPICS).is_some());
        let by_time = usual.unwrap_or(0).saturating_add(long.unwrap_or(0));
        let counts = match (read.is_some() || written.is_some(), self.first(&["prompt_tokens"])) {
            (false, _) => Counting::Within,
            (true, Some(_)) => Counting::WithinIfFits,
            (true, None) => Counting::Beside,
        };
        let details = &self.prompt_details;
        Cache {
            read: self.largest(details, &READ_WITHIN, &READ).max(read).unwrap_or(0),
            written: self.largest(details, &WRITTEN_WITHIN, &WRITTEN).max(written).unwrap_or(by_time),
            long: usual.or(long).map(|_| long.unwrap_or(0)),
            longer: if is_anthropics { Longer::Hour } else { Longer::TwelveHours },
            counts,
        }
    }
}

/// The nested objects with these names.
fn within<'a>(object: &Pairs<'a>, names: &[&str]) -> Vec<Pairs<'a>> {
    names.iter().filter_map(|name| Pairs::of(object.get(name)?)).collect()
}

/// A count: a whole number that is not negative, in any spelling (`100.0` is 100). `None` for anything else.
pub(in crate::format) fn count(text: &str) -> Option<u64> {
    let whole = || {
        let float = serde_json::from_str::<Number>(text).ok()?.as_f64()?;
        let is_whole = float.fract() == 0.0 && (0.0..LARGEST_WHOLE).contains(&float);
        float.to_string().parse().ok().filter(|_| is_whole)
    };
    text.parse().ok().or_else(whole)
}

/// The numbers of which a total may be the sum.
struct Named {
    prompt: Option<u64>,
    output: Option<u64>,
    cache: u64,
    thought: u64,
}

impl Named {
    /// All of the prompt, and all of the output. Where the total is exactly a sum of the named numbers, it decides
    /// which are counted separately; otherwise it is ignored.
    fn resolved(&self, total: Option<u64>, counts: Counting) -> (Option<u64>, Option<u64>) {
        let does_not_fit = self.prompt.is_some_and(|prompt| self.cache > prompt);
        let may_stand_beside = counts != Counting::Within || does_not_fit;
        let is_sum = |cache: u64, thought: u64| {
            let sum = [self.output?, cache, thought].into_iter().try_fold(self.prompt?, u64::checked_add);
            (sum == total && total.is_some()).then_some((cache, thought))
        };
        let told = is_sum(0, 0)
            .or_else(|| is_sum(0, self.thought))
            .or_else(|| is_sum(self.cache, 0).filter(|_| may_stand_beside))
            .or_else(|| is_sum(self.cache, self.thought).filter(|_| may_stand_beside));
        let untold = || match counts {
            Counting::Beside => (self.cache, 0),
            Counting::WithinIfFits if does_not_fit => (self.cache, 0),
            Counting::Within | Counting::WithinIfFits => (0, 0),
        };
        let (cache, thought) = told.unwrap_or_else(untold);
        let add = |number: Option<u64>, more: u64| number.map(|number| number.saturating_add(more));
        (add(self.prompt, cache), add(self.output, thought))
    }
}

#[cfg(test)]
mod servers;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(answer: &Value) -> Option<Report> {
        report(&Fields::parse(answer.to_string().as_bytes()).unwrap())
    }

    /// Prompt, of it read from the cache and written to it, and output.
    #[expect(clippy::needless_pass_by_value, reason = "it is made where it is asked about")]
    fn counts(usage: Value) -> (Option<u64>, u64, u64, Option<u64>) {
        let report = of(&json!({"usage": usage})).unwrap_or_default();
        (report.input, report.cached_input, report.cache_write, report.output)
    }

    #[test]
    fn a_total_decides_where_its_parts_are_named() {
        let thoughts = json!({"reasoning_tokens": 94});
        let with = |prompt: u64, output: u64, total: u64| {
            counts(json!({"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": total,
                "completion_tokens_details": thoughts}))
        };
        assert_eq!(with(32, 9, 135), (Some(32), 0, 0, Some(103)));
        assert_eq!(with(32, 100, 226), (Some(32), 0, 0, Some(194)));
        assert_eq!(with(32, 100, 132), (Some(32), 0, 0, Some(100)));
        assert_eq!(with(32, 100, 200), (Some(32), 0, 0, Some(100)), "a sum of nothing that is named");
        let unnamed = json!({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135});
        assert_eq!(counts(unnamed), (Some(32), 0, 0, Some(9)), "who knows what the others were");
    }

    #[test]
    fn a_number_that_is_odd_is_absent_alone() {
        for odd in [json!(null), json!(-5), json!("5"), json!(5.5), json!([5]), json!(true), json!(1e30), json!({})] {
            let usage = json!({"prompt_tokens": odd, "completion_tokens": 9});
            assert_eq!(counts(usage), (None, 0, 0, Some(9)), "{odd}");
            let usage = json!({"prompt_tokens": 100, "completion_tokens": odd});
            assert_eq!(counts(usage), (Some(100), 0, 0, None), "{odd}");
            let details = json!({"cached_tokens": odd, "cache_write_tokens": 7});
            let usage = json!({"prompt_tokens": 100, "completion_tokens": 9, "total_tokens": odd,
                "prompt_tokens_details": details, "completion_tokens_details": odd});
            assert_eq!(counts(usage), (Some(100), 0, 7, Some(9)), "{odd}");
        }
        let whole =
            json!({"prompt_tokens": 100.0, "completion_tokens": 9e0, "prompt_tokens_details": {"cached_tokens": 40.0}});
        assert_eq!(counts(whole), (Some(100), 40, 0, Some(9)));
        assert_eq!(of(&json!({"usage": {"prompt_tokens": 0, "completion_tokens": 0.0, "total_tokens": 0}})), None);
        for nothing in [json!(null), json!({}), json!([]), json!(5), json!("100")] {
            assert_eq!(of(&json!({"usage": nothing})), None, "{nothing}");
        }
    }

    #[test]
    fn a_cache_is_read_under_all_its_names() {
        let base = json!({"prompt_tokens": 100, "completion_tokens": 9, "total_tokens": 109});
        let with = |more: Value| {
            let mut usage = base.clone();
            usage.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            counts(usage)
        };
        for read in [
            json!({"prompt_tokens_details": {"cached_tokens": 60}}),
            json!({"prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40}),
            json!({"cached_tokens": 60}),
            json!({"cache_read_input_tokens": 60}),
            json!({"prompt_tokens_details": {"cached_tokens": 0}, "cached_tokens": 60}),
            json!({"prompt_tokens_details": null, "prompt_cache_hit_tokens": 60}),
        ] {
            assert_eq!(with(read.clone()), (Some(100), 60, 0, Some(9)), "{read}");
        }
        let both = json!({"prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 30}});
        assert_eq!(with(both), (Some(100), 20, 30, Some(9)));
        assert_eq!(with(json!({"cache_creation_input_tokens": 30})), (Some(100), 0, 30, Some(9)));
        // DeepSeek's two parts together are the prompt.
        let parts = json!({"prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40, "completion_tokens": 9});
        assert_eq!(counts(parts), (Some(100), 60, 0, Some(9)));
    }

    #[test]
    fn a_cache_that_is_counted_beside_the_prompt_is_added_to_it() {
        let anthropic = json!({"input_tokens": 500, "cache_read_input_tokens": 20_000, "cache_creation_input_tokens": 3_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 2_000}, "output_tokens": 800});
        assert_eq!(counts(anthropic.clone()), (Some(23_500), 20_000, 3_000, Some(800)));
        let kept = of(&json!({"usage": anthropic})).unwrap();
        assert_eq!((kept.cache_write_long, kept.longer), (Some(2_000), Longer::Hour));
        let names = |total: u64| {
            counts(json!({"prompt_tokens": 500, "completion_tokens": 50, "total_tokens": total,
                "cache_read_input_tokens": 400, "cache_creation_input_tokens": 0}))
        };
        assert_eq!(names(950), (Some(900), 400, 0, Some(50)), "the total says so");
        assert_eq!(names(550), (Some(500), 400, 0, Some(50)));
        assert_eq!(names(0), (Some(500), 400, 0, Some(50)), "it fits, and nothing says that it is beside");
        let more = json!({"prompt_tokens": 5, "completion_tokens": 50, "cache_read_input_tokens": 400});
        assert_eq!(counts(more), (Some(405), 400, 0, Some(50)), "it is no part of five");
        let responses =
            json!({"input_tokens": 500, "output_tokens": 50, "input_tokens_details": {"cached_tokens": 400}});
        assert_eq!(counts(responses), (Some(500), 400, 0, Some(50)));
    }

    #[test]
    fn what_is_told_apart_is_read() {
        let report = of(&json!({"service_tier": "flex", "usage": {
            "prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 10, "audio_tokens": 20, "image_tokens": 30,
            "cache_write_tokens": 5, "cache_write_tokens_details": {"ttl_30m_tokens": 2, "ttl_12h_tokens": 3}},
            "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 7, "audio_tokens": 8},
            "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}}}));
        let report = report.unwrap();
        assert_eq!((report.audio_input, report.image_input, report.reasoning, report.audio_output), (20, 30, 7, 8));
        assert_eq!((report.cache_write_long, report.longer), (Some(3), Longer::TwelveHours));
        assert_eq!((report.web_searches, report.web_fetches, report.tier), (2, 1, Some(Tier::Flex)));
        for (word, tier) in
            [("default", Some(Tier::Standard)), ("fast", Some(Tier::Priority)), ("auto", None), ("x", None)]
        {
            assert_eq!(Tier::from_word(word), tier, "{word}");
        }
    }

    #[test]
    fn usage_is_found_where_it_stands() {
        let usage = json!({"prompt_tokens": 7, "completion_tokens": 6});
        for answer in [
            json!({"usage": usage}),
            json!({"x_groq": {"id": "x", "usage": usage}}),
            json!({"message": {"role": "assistant", "usage": usage}}),
            json!({"response": {"usage": usage}}),
            json!({"choices": [{"index": 0, "delta": {}, "usage": usage}]}),
            json!({"choices": [{"index": 0, "message": {"content": "x", "usage": usage}}]}),
            json!({"usage": null, "choices": [{"delta": {"usage": usage}}]}),
            json!({"usage": {"prompt_tokens": 0}, "x_groq": {"usage": usage}}),
        ] {
            let report = of(&answer).unwrap();
            assert_eq!((report.input, report.output), (Some(7), Some(6)), "{answer}");
        }
        for none in
            [json!({"choices": [{"message": {"content": "\"usage\": {}"}}]}), json!({"message": "usage"}), json!({})]
        {
            assert_eq!(of(&none), None, "{none}");
        }
    }

    #[test]
    fn the_object_is_kept_as_it_came_and_the_one_at_the_top_first() {
        let text = r#"{"usage":{"prompt_tokens" : 7.0,"completion_tokens":6,"x":[1]},"x_groq":{"usage":{"prompt_tokens":7,"completion_tokens":6}}}"#;
        let report = report(&Fields::parse(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(report.own.as_deref(), Some(r#"{"prompt_tokens" : 7.0,"completion_tokens":6,"x":[1]}"#));
        let padded = json!({"prompt_tokens": 7, "completion_tokens": 6, "x": "x".repeat(LARGEST_OBJECT)});
        assert_eq!(of(&json!({"usage": padded})).unwrap().own, None);
    }

    /// Counts and other values, as servers write them.
    fn number() -> impl Strategy<Value = Value> {
        prop_oneof![
            6 => (0_u64..300).prop_map(Value::from),
            1 => any::<u64>().prop_map(Value::from),
            1 => (0_u32..300).prop_map(|whole| Value::from(f64::from(whole))),
            1 => any::<f64>().prop_map(Value::from),
            1 => any::<i64>().prop_map(Value::from),
            1 => Just(Value::Null),
            1 => Just(json!("12")),
        ]
    }

    proptest! {
        #[test]
        fn parts_never_exceed_what_they_are_parts_of(numbers in proptest::collection::vec(number(), 10), names in any::<u16>()) {
            let mut usage = json!({"prompt_tokens_details": {}, "completion_tokens_details": {}, "cache_creation": {}});
            let places = ["/prompt_tokens", "/completion_tokens", "/total_tokens", "/prompt_tokens_details/cached_tokens",
                "/prompt_tokens_details/cache_write_tokens", "/completion_tokens_details/reasoning_tokens",
                "/cache_read_input_tokens", "/cache_creation_input_tokens", "/cached_tokens",
                "/cache_creation/ephemeral_1h_input_tokens"];
            for (place, number) in places.iter().zip(numbers).enumerate().filter(|(bit, _)| names & (1 << bit) != 0).map(|(_, pair)| pair) {
                let (parent, name) = place.rsplit_once('/').unwrap();
                usage.pointer_mut(parent).unwrap()[name] = number;
            }
            if let Some(report) = of(&json!({"usage": usage})) {
                let cache = report.cached_input.checked_add(report.cache_write).unwrap();
                prop_assert!(cache <= report.input.unwrap_or(0), "{report:?}");
                prop_assert!(report.cache_write_long.unwrap_or(0) <= report.cache_write, "{report:?}");
                prop_assert!(report.reasoning <= report.output.unwrap_or(0), "{report:?}");
            }
        }
    }
}
