//! Usage as this format reports it: the cache's tokens stand beside the input, and the numbers of a stream are running
//! totals. A missing or odd number is absent; the others stay.

use serde_json::Value;

use crate::{
    fields::{Fields, Pairs, text_of},
    format::openai::reading::count,
    usage::{Apart, Longer, Report, Tier},
};

/// Longer usage objects are not passed on: no real one is as long.
const LARGEST_OBJECT: usize = 64 * 1_024;

/// The usage of a message or an event, from its `usage`; `None` where all numbers are zero or odd.
pub(super) fn report(said: &Fields) -> Option<Report> {
    read(said.present("usage")?)
}

/// No step of an answer reads or writes as many tokens.
const ABSURD: u64 = 1 << 32;

/// Reads one usage object.
pub(super) fn read(text: &str) -> Option<Report> {
    let object = Pairs::of(text)?;
    let whole = Counts::of(&object);
    // Counts at the top leave out what was spent on the way, such as a compaction of the conversation.
    // Steps beyond all reason say nothing; the counts at the top may.
    let is_absurd = |step: &Counts| step.input().max(step.output).is_some_and(|count| count > ABSURD);
    let steps = Some(steps(&object)).filter(|steps| !steps.iter().any(is_absurd)).unwrap_or_default();
    let of_steps = steps.iter().copied().reduce(Counts::and);
    let counts = of_steps.map_or(whole, |steps| steps.max(whole));
    let largest_prompt = steps.iter().filter_map(Counts::input).max();
    let listed_input = of_steps.and_then(|steps| steps.input()).unwrap_or(0);
    let is_nothing = counts.input().unwrap_or(0) == 0 && counts.output.unwrap_or(0) == 0;
    let tools = object.get("server_tool_use").and_then(Pairs::of);
    let uses = |name: &str| tools.as_ref().and_then(|tools| count(tools.get(name)?)).unwrap_or(0);
    let report = Report {
        input: counts.input(),
        largest_prompt,
        listed_input,
        cached_input: counts.read.unwrap_or(0),
        cache_write: counts.written().unwrap_or(0),
        cache_write_long: counts.usual.or(counts.long).map(|_| counts.long.unwrap_or(0)),
        longer: Longer::Hour,
        output: counts.output,
        web_searches: uses("web_search_requests"),
        web_fetches: uses("web_fetch_requests"),
        tier: tier(&object),
        apart: Some(apart(&object)),
        own: (text.len() <= LARGEST_OBJECT).then(|| text.into()),
        ..Report::default()
    };
    (!is_nothing).then(|| report.fitted())
}

/// The service tier served: the usual one, or a batch's. The word `priority` was for capacity that is paid ahead, and says
/// nothing of a price.
fn tier(object: &Pairs<'_>) -> Option<Tier> {
    let word = object.get("service_tier").and_then(text_of)?;
    Tier::from_word(&word).filter(|tier| *tier != Tier::Priority)
}

/// Speed and place. Each is told by itself, and has a price of its own: what is told of one says nothing of the other.
fn apart(object: &Pairs<'_>) -> Apart {
    let word = |name: &str| object.get(name).and_then(text_of);
    let is = |name: &str, dearer: &str, usual: &str| match word(name).as_deref() {
        Some(word) if word == dearer => Some(true),
        Some(word) if word == usual => Some(false),
        Some(_) | None => None,
    };
    Apart { is_fast: is("speed", "fast", "standard"), is_us: is("inference_geo", "us", "global") }
}

/// The token counts of one object.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    uncached: Option<u64>,
    read: Option<u64>,
    created: Option<u64>,
    /// Of what was written to the cache: kept for the usual time, and for longer.
    usual: Option<u64>,
    long: Option<u64>,
    output: Option<u64>,
}

fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

impl Counts {
    fn of(object: &Pairs<'_>) -> Self {
        let number = |name: &str| count(object.get(name)?);
        let kept = object.get("cache_creation").and_then(Pairs::of);
        let kept = |name: &str| count(kept.as_ref()?.get(name)?);
        Self {
            uncached: number("input_tokens"),
            read: number("cache_read_input_tokens"),
            created: number("cache_creation_input_tokens"),
            usual: kept("ephemeral_5m_input_tokens"),
            long: kept("ephemeral_1h_input_tokens"),
            output: number("output_tokens"),
        }
    }

    /// What was written to the cache.
    fn written(&self) -> Option<u64> {
        self.created.max(sum(self.usual, self.long))
    }

    /// All of the input. Parts of it alone say nothing of the rest.
    fn input(&self) -> Option<u64> {
        sum(self.uncached, sum(self.read, self.written()).filter(|_| self.uncached.is_some()))
    }

    fn and(self, other: Self) -> Self {
        self.with(other, sum)
    }

    fn max(self, other: Self) -> Self {
        self.with(other, Option::max)
    }

    fn with(self, other: Self, join: fn(Option<u64>, Option<u64>) -> Option<u64>) -> Self {
        Self {
            uncached: join(self.uncached, other.uncached),
            read: join(self.read, other.read),
            created: join(self.created, other.created),
            usual: join(self.usual, other.usual),
            long: join(self.long, other.long),
            output: join(self.output, other.output),
        }
    }
}

/// The steps of an answer, each with counts of its own.
fn steps(object: &Pairs<'_>) -> Vec<Counts> {
    let steps = object.get("iterations").and_then(|steps| serde_json::from_str::<Vec<Value>>(steps).ok());
    let texts: Vec<String> = steps.into_iter().flatten().map(|step| step.to_string()).collect();
    texts.iter().filter_map(|text| Some(Counts::of(&Pairs::of(text)?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "it is made where it is asked about")]
    fn of(usage: Value) -> Option<Report> {
        report(&Fields::parse(json!({"usage": usage}).to_string().as_bytes()).unwrap())
    }

    #[test]
    fn the_cache_is_beside_the_input() {
        let report = of(json!({"input_tokens": 500, "cache_read_input_tokens": 20_000,
            "cache_creation_input_tokens": 3_000, "output_tokens": 800, "service_tier": "standard",
            "cache_creation": {"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 2_000},
            "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}}))
        .unwrap();
        assert_eq!((report.input, report.cached_input, report.cache_write), (Some(23_500), 20_000, 3_000));
        assert_eq!((report.cache_write_long, report.longer, report.output), (Some(2_000), Longer::Hour, Some(800)));
        assert_eq!((report.web_searches, report.web_fetches, report.tier), (2, 1, Some(Tier::Standard)));
    }

    #[test]
    fn the_end_of_a_stream_adds_to_its_beginning() {
        let begun = of(json!({"input_tokens": 5, "cache_creation_input_tokens": 30, "output_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 30}}))
        .unwrap();
        let both = begun.clone().gain(of(json!({"output_tokens": 70})).unwrap());
        assert_eq!((both.input, both.cache_write_long, both.output), (Some(35), Some(30), Some(70)));
        let whole = of(json!({"input_tokens": 9, "cache_creation_input_tokens": 30, "output_tokens": 70})).unwrap();
        let both = begun.gain(whole);
        assert_eq!((both.input, both.cache_write, both.cache_write_long), (Some(39), 30, Some(30)));
        let own: Value = serde_json::from_str(&both.own.unwrap()).unwrap();
        assert_eq!((&own["input_tokens"], &own["output_tokens"]), (&json!(9), &json!(70)));
        assert!(own["cache_creation"].is_object(), "{own}");
    }

    #[test]
    fn what_was_spent_on_the_way_is_counted_once() {
        let steps = json!([
            {"type": "compaction", "input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 7},
            {"type": "message", "input_tokens": 30, "output_tokens": 4, "cache_creation_input_tokens": 2}]);
        let report = of(json!({"input_tokens": 30, "output_tokens": 4, "iterations": steps})).unwrap();
        assert_eq!((report.input, report.cached_input, report.cache_write, report.output), (Some(139), 7, 2, Some(24)));
        assert_eq!(report.largest_prompt, Some(107));
        for none in [json!(null), json!([]), json!(7)] {
            assert_eq!(
                of(json!({"input_tokens": 30, "output_tokens": 4, "iterations": none})).unwrap().input,
                Some(30)
            );
        }
        let unlisted = of(json!({"input_tokens": 900, "output_tokens": 4, "iterations": [{"input_tokens": 300}]}));
        assert_eq!(unlisted.map(|report| (report.input, report.largest_prompt)), Some((Some(900), Some(600))));
        // In a stream the input is told first, and the steps at the end.
        let begun = of(json!({"input_tokens": 150_000, "output_tokens": 1})).unwrap();
        let both = begun.gain(of(json!({"output_tokens": 9, "iterations": [{"input_tokens": 10}]})).unwrap());
        assert_eq!((both.input, both.largest_prompt), (Some(150_000), Some(149_990)));
        let absurd = json!([{"input_tokens": u64::MAX}, {"input_tokens": u64::MAX}]);
        let absurd = of(json!({"input_tokens": 7, "output_tokens": 4, "iterations": absurd})).unwrap();
        assert_eq!((absurd.input, absurd.largest_prompt), (Some(7), None));
    }

    #[test]
    fn a_number_that_is_odd_is_absent_alone() {
        for odd in [json!(null), json!(-5), json!("5"), json!(5.5), json!([5]), json!(true), json!({})] {
            let report = of(json!({"input_tokens": odd, "output_tokens": 9, "cache_read_input_tokens": 3})).unwrap();
            assert_eq!((report.input, report.output), (None, Some(9)), "{odd}");
            let report = of(json!({"input_tokens": 9, "output_tokens": odd, "cache_read_input_tokens": odd,
                "cache_creation": odd, "server_tool_use": odd, "service_tier": odd}));
            assert_eq!(report.map(|report| (report.input, report.output)), Some((Some(9), None)), "{odd}");
        }
        for nothing in [json!(null), json!({}), json!([]), json!({"input_tokens": 0, "output_tokens": 0.0})] {
            assert_eq!(of(nothing.clone()), None, "{nothing}");
        }
        let fast = of(json!({"input_tokens": 1.0, "speed": "fast", "service_tier": "standard"})).unwrap();
        assert_eq!((fast.input, fast.served(Tier::Standard)), (Some(1), Tier::Priority));
    }

    #[test]
    fn a_word_of_the_service_tier_says_nothing_of_speed_and_place() {
        let served = |more: Value, asked| {
            let mut usage = json!({"input_tokens": 1_000, "output_tokens": 100});
            usage.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            of(usage).unwrap().served(asked)
        };
        for (told, asked, expected) in [
            (json!({"service_tier": "standard"}), Tier::Priority, Tier::Priority),
            (json!({"service_tier": "standard", "inference_geo": null}), Tier::Us, Tier::Us),
            (json!({"service_tier": "standard"}), Tier::Us, Tier::Us),
            (json!({"speed": "fast"}), Tier::PriorityUs, Tier::PriorityUs),
            (json!({"inference_geo": "us"}), Tier::PriorityUs, Tier::PriorityUs),
            (json!({"speed": "standard"}), Tier::Priority, Tier::Standard),
            (json!({"speed": "quicker", "inference_geo": 7}), Tier::PriorityUs, Tier::PriorityUs),
            (json!({"inference_geo": "global"}), Tier::Us, Tier::Standard),
            (json!({"service_tier": "batch"}), Tier::Standard, Tier::Batch),
            (json!({"speed": "fast", "inference_geo": "us"}), Tier::Standard, Tier::PriorityUs),
            (json!({}), Tier::Standard, Tier::Standard),
        ] {
            assert_eq!(served(told.clone(), asked), expected, "{told} {asked:?}");
        }
        let begun = of(json!({"input_tokens": 1_000, "output_tokens": 1, "speed": "fast"})).unwrap();
        let both = begun.gain(of(json!({"output_tokens": 100, "service_tier": "standard"})).unwrap());
        assert_eq!(both.served(Tier::Priority), Tier::Priority);
        assert_eq!(both.served(Tier::Standard), Tier::Priority);
    }
}
