//! Usage as servers that speak OpenAI's format write it, each from its own documentation.

use serde_json::{Value, json};

use super::report;
use crate::fields::Fields;

/// Input, what of it was read from a cache, output, and what of it is reasoning.
fn of(answer: &Value) -> (Option<u64>, u64, Option<u64>, u64) {
    let report = report(&Fields::parse(answer.to_string().as_bytes()).unwrap()).unwrap();
    (report.input, report.cached_input, report.output, report.reasoning)
}

#[test]
fn each_servers_usage_is_read() {
    let delta = json!({"index": 0, "delta": {"content": "x"}});
    let reasoning = json!({"reasoning_tokens": 200});
    for (server, answer, expected) in [
        (
            "vLLM: a running usage on every chunk",
            json!({"choices": [delta], "usage": {"prompt_tokens": 100, "total_tokens": 103, "completion_tokens": 3,
                "prompt_tokens_details": {"cached_tokens": 64}}}),
            (Some(100), 64, Some(3), 0),
        ),
        (
            "Groq: in a field of its own, with times",
            json!({"choices": [delta], "x_groq": {"id": "r", "usage": {"queue_time": 0.02, "prompt_tokens": 100,
                "prompt_time": 0.01, "completion_tokens": 50, "total_tokens": 150, "total_time": 0.3,
                "prompt_tokens_details": {"cached_tokens": 80}}}}),
            (Some(100), 80, Some(50), 0),
        ),
        (
            "DeepSeek: hits and misses beside the prompt",
            json!({"usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, "prompt_cache_hit_tokens": 64,
                "prompt_cache_miss_tokens": 36, "completion_tokens_details": {"reasoning_tokens": 20}}}),
            (Some(100), 64, Some(50), 20),
        ),
        (
            "xAI: reasoning outside the completion",
            json!({"usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 350, "num_sources_used": 0,
                "prompt_tokens_details": {"text_tokens": 100, "cached_tokens": 40}, "cost_in_usd_ticks": 17_000_000,
                "completion_tokens_details": reasoning}}),
            (Some(100), 40, Some(250), 200),
        ),
        (
            "xAI's responses: reasoning inside",
            json!({"usage": {"input_tokens": 100, "output_tokens": 250, "total_tokens": 350, "output_tokens_details": reasoning}}),
            (Some(100), 0, Some(250), 200),
        ),
        (
            "Moonshot: within the choice of a stream",
            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop",
                "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, "cached_tokens": 60}}]}),
            (Some(100), 60, Some(50), 0),
        ),
        (
            "OpenRouter: with its cost",
            json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 250, "total_tokens": 350, "cost": 0.01,
                "is_byok": false, "cost_details": {"upstream_inference_cost": null}, "completion_tokens_details": reasoning,
                "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 0, "audio_tokens": 0, "video_tokens": 0}}}),
            (Some(100), 10, Some(250), 200),
        ),
        (
            "Gemini's OpenAI path: thoughts in the total alone",
            json!({"usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 350, "completion_tokens_details": reasoning}}),
            (Some(100), 0, Some(250), 200),
        ),
    ] {
        assert_eq!(of(&answer), expected, "{server}");
    }
}
