//! What becomes of a body before it is sent on: it is read, searched for names that come twice, and written as it came or
//! in another provider's words. A conversation of a hundred messages, and an agent's turn of a megabyte:
//! `cargo bench -p wire`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use wire::{
    format::{
        ClientFormat, ProviderFormat, Upstream,
        anthropic::{Anthropic, Messages},
        gemini::Gemini,
        openai::{Chat, OpenAi},
        terms,
    },
    inference::Request,
};

const MESSAGES: usize = 100;
const LINE: &str =
    "    let total = rows.iter().map(|row| row.amount).sum::<u64>(); // \"line\" 0042 of src/report.rs\n";
const UPSTREAM: Upstream<'static> = Upstream { model: "m", max_output: 8_192, tier: None };

/// A conversation of an agent: each answer calls a tool, whose result has so many lines.
fn body(lines: usize) -> Vec<u8> {
    let mut messages = vec![json!({"role": "system", "content": "You are an agent that edits code."})];
    for turn in 0..MESSAGES / 4 {
        let id = format!("call_{turn}");
        let call = json!({"id": id, "type": "function", "function": {"name": "read", "arguments": "{\"path\":\"src/report.rs\"}"}});
        messages.extend([
            json!({"role": "user", "content": [{"type": "text", "text": "And the next file?"}]}),
            json!({"role": "assistant", "content": null, "tool_calls": [call]}),
            json!({"role": "tool", "tool_call_id": id, "content": LINE.repeat(lines)}),
            json!({"role": "assistant", "content": "It sums the amounts of all rows."}),
        ]);
    }
    messages.push(json!({"role": "user", "content": "Go on."}));
    let parameters = json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]});
    let tool = |number: usize| {
        let name = if number == 0 { "read".into() } else { format!("tool_{number}") };
        json!({"type": "function", "function": {"name": name, "description": LINE, "parameters": parameters}})
    };
    let tools: Value = (0..20).map(tool).collect();
    json!({"model": "m", "max_tokens": 1_024, "messages": messages, "tools": tools}).to_string().into_bytes()
}

fn call(provider: &dyn ProviderFormat, request: Request) -> String {
    provider.call(request, &UPSTREAM).unwrap().body.to_json()
}

fn bench(criterion: &mut Criterion) {
    let providers: [(&str, &dyn ProviderFormat); 3] =
        [("OpenAI", &OpenAi), ("Anthropic", &Anthropic), ("Google", &Gemini)];
    for (name, lines) in [("100 messages", 2), ("a megabyte", 430)] {
        let body = body(lines);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("read", |bencher| bencher.iter(|| Chat::read(black_box(&body)).unwrap()));
        let request = Chat::read(&body).unwrap();
        group.bench_function("terms", |bencher| bencher.iter(|| terms(black_box(&request)).unwrap()));
        for (provider, format) in providers {
            group.bench_function(format!("write for {provider}"), |bencher| {
                bencher.iter_batched(|| request.clone(), |request| call(format, request), BatchSize::LargeInput);
            });
        }
        let messages = call(&Anthropic, request.clone());
        group.bench_function("read of Anthropic's", |bencher| {
            bencher.iter(|| Messages::read(black_box(messages.as_bytes())).unwrap());
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
