//! Calls of tools and thoughts: a model of random weights, in every family, calls what it is told to call, with arguments
//! that fit; so does the small chat model, whose template knows no tools.

use engine::calls::family::Family;
use serde_json::{Value, json};
use wire::inference::{Event, FinishReason, Request};

use super::schemas::{Random, invalid};
use super::tiny::{Tiny, Value as Key, tokens};
use super::{chat_with, deltas, finish, run, text, usage};

/// A template of each family, and the special tokens of its form.
fn spoken(family: Family) -> (String, Vec<(&'static str, i32)>) {
    let (form, special): (&str, &[(&str, i32)]) = match family {
        Family::Hermes => {
            ("<tool_call>{\"name\": \"arguments\"}</tool_call>", &[("<tool_call>", 4), ("<think>", 4), ("</think>", 4)])
        }
        Family::Mistral => ("[TOOL_CALLS]", &[("[TOOL_CALLS]", 3)]),
        Family::MistralArguments => ("[TOOL_CALLS][ARGS]", &[("[TOOL_CALLS]", 3), ("[ARGS]", 3)]),
        Family::DeepSeek => (
            "<｜tool▁calls▁begin｜><｜tool▁sep｜>```json",
            &[
                ("<｜tool▁calls▁begin｜>", 3),
                ("<｜tool▁call▁begin｜>", 3),
                ("<｜tool▁sep｜>", 3),
                ("<｜tool▁call▁end｜>", 3),
                ("<｜tool▁calls▁end｜>", 3),
            ],
        ),
        Family::DeepSeekBare => ("<｜tool▁calls▁begin｜><｜tool▁sep｜>", &[("<｜tool▁calls▁begin｜>", 4)]),
        Family::Command => (
            "<|START_ACTION|>{\"tool_call_id\": 0, \"tool_name\": 1, \"parameters\": 2}",
            &[("<|START_ACTION|>", 3), ("<|END_ACTION|>", 3)],
        ),
        Family::Llama => ("<|start_header_id|>{\"name\": x, \"parameters\": y}", &[("<|python_tag|>", 3)]),
        Family::Generic => {
            return ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}".to_owned(), vec![]);
        }
    };
    let template = format!(
        "{{% if tools %}}{{{{ tools | tojson }}}}{form}{{% endif %}}{{% for m in messages %}}{{{{ m.role }}}}: {{{{ m.content }}}}\
         {{% if m.tool_calls %}}{{{{ m.tool_calls | tojson }}}}{{% endif %}}\n{{% endfor %}}"
    );
    (template, special.to_vec())
}

fn model(family: Family) -> Random {
    let (template, special) = spoken(family);
    let (names, kinds): (Vec<&str>, Vec<i32>) = special.into_iter().unzip();
    let all: Vec<String> = tokens().into_iter().chain(names.into_iter().map(str::to_owned)).collect();
    let kinds = [vec![1; 256], vec![3; 3], kinds].concat();
    let rows = all.len();
    let tiny = Tiny::new().resized(rows).template(&template).key("tokenizer.ggml.tokens", Key::Texts(all));
    let model = Random::new(&tiny.key("tokenizer.ggml.token_type", Key::Ints(kinds)));
    assert_eq!(model.tokenizer.template().unwrap().family(), family);
    model
}

fn parameters() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}, "unit": {"enum": ["C", "F"]},
        "at": {"$ref": "#/$defs/at"}}, "required": ["city", "at"], "additionalProperties": false,
        "$defs": {"at": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "maxItems": 2}}})
}

fn tools() -> Value {
    json!([
        {"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": parameters(), "strict": true}},
        {"type": "function", "function": {"name": "get_time"}},
    ])
}

fn asked(fields: &Value) -> Request {
    let mut all = json!({"tools": tools(), "max_tokens": 1500, "temperature": 1});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    chat_with("hi", &all)
}

/// The calls of an answer: id, name, arguments. They come as closed providers' do.
fn calls(events: &[Event]) -> Vec<(String, String, String)> {
    let mut calls: Vec<(String, String, String)> = Vec::new();
    for call in deltas(events, 0).iter().flat_map(|delta| &delta.calls) {
        let at = usize::try_from(call.index).unwrap();
        if let (Some(id), Some(name)) = (&call.id, &call.name) {
            assert_eq!(at, calls.len(), "one after the other");
            calls.push((id.clone(), name.clone(), String::new()));
        }
        calls[at].2.push_str(&call.arguments);
    }
    calls
}

/// That calls fit the tools.
fn assert_fit(calls: &[(String, String, String)]) {
    let none = json!({"type": "object", "additionalProperties": false});
    let schema = |name: &str| if name == "get_weather" { parameters() } else { none.clone() };
    let cases: Vec<_> = calls.iter().map(|(_, name, arguments)| (schema(name), arguments.clone())).collect();
    assert_eq!(invalid(&cases), Vec::<String>::new());
}

#[test]
fn any_seed_of_any_family_calls_what_it_must_with_arguments_that_fit() {
    let mut all = Vec::new();
    for family in Family::ALL {
        let model = model(family);
        for seed in 0..6 {
            // Calls without arguments are short; end it after some.
            let mut bias = json!({"256": 6, "258": 6});
            if family == Family::Hermes {
                // A random model's thoughts have no end.
                bias["260"] = (-100).into();
            }
            if family == Family::DeepSeek {
                // Nor has its list, which a token ends.
                bias["263"] = 8.into();
            }
            let fields = json!({"tool_choice": "required", "seed": seed, "parallel_tool_calls": seed % 2 == 0, "logit_bias": bias});
            let events = model.answer(&asked(&fields));
            let calls = calls(&events);
            assert_eq!(finish(&events, 0).0, Some(FinishReason::ToolCalls), "{family:?}: {events:?}");
            assert_eq!(text(&events, 0), "");
            assert!(seed % 2 == 0 || calls.len() == 1, "{calls:?}");
            let length = if matches!(family, Family::Mistral | Family::MistralArguments) { 9 } else { 29 };
            assert!(calls.iter().all(|(id, ..)| id.len() == length), "{calls:?}");
            all.extend(calls);
        }
        let named = json!({"tool_choice": {"type": "function", "function": {"name": "get_weather"}}, "seed": 4});
        let calls = calls(&model.answer(&asked(&named)));
        assert!(calls.len() == 1 && calls[0].1 == "get_weather", "{calls:?}");
        all.extend(calls);
    }
    println!("{all:#?}");
    assert!(
        all.iter().any(|call| call.1 == "get_time") && all.iter().filter(|call| call.1 == "get_weather").count() > 5
    );
    assert_fit(&all);
}

#[test]
fn a_model_that_may_call_is_held_from_its_mark_on() {
    for (family, mark) in [(Family::Hermes, "259"), (Family::Mistral, "259"), (Family::MistralArguments, "259")] {
        let model = model(family);
        for parallel in [false, true] {
            // A few letters, and then the mark by itself: nothing else scores as high.
            let fields =
                json!({"logit_bias": {mark: 100}, "parallel_tool_calls": parallel, "max_tokens": 400, "seed": 1});
            let events = model.answer(&asked(&fields));
            let found = calls(&events);
            let (reason, tokens) = (finish(&events, 0).0, usage(&events).output);
            match (family, parallel) {
                (_, false) | (Family::Mistral, true) => assert_eq!(reason, Some(FinishReason::ToolCalls), "{events:?}"),
                // The mark comes again and again.
                (_, true) => assert_eq!((reason.clone(), tokens), (Some(FinishReason::Length), 400)),
            }
            let whole = if reason == Some(FinishReason::Length) { found.len() - 1 } else { found.len() };
            assert!(whole >= 1 && (parallel || whole == 1), "{family:?} {parallel}: {found:?}");
            assert_fit(&found[..whole]);
        }
    }
    // Without a mark it is text.
    let hermes = model(Family::Hermes);
    let events =
        hermes.answer(&asked(&json!({"logit_bias": {"259": -100, "258": -100, "256": -100}, "max_tokens": 30})));
    assert_eq!((calls(&events).len(), finish(&events, 0).0), (0, Some(FinishReason::Length)));
    let none = asked(&json!({"tool_choice": "none", "logit_bias": {"259": 100}, "max_tokens": 3}));
    assert_eq!(text(&hermes.answer(&none), 0), "<tool_call>".repeat(3), "no tool may be called, so it is no call");
}

#[test]
fn a_schema_and_tools_together_are_one_or_the_other() {
    let model = model(Family::Hermes);
    let schema = json!({"type": "object", "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["x"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let answer =
        model.answer(&asked(&json!({"response_format": format, "seed": 2, "logit_bias": {"259": -100, "60": -100}})));
    assert_eq!((invalid(&[(schema, text(&answer, 0))]), finish(&answer, 0).0), (vec![], Some(FinishReason::Stop)));
    let called = model.answer(&asked(
        &json!({"response_format": format, "seed": 2, "logit_bias": {"259": 100}, "parallel_tool_calls": false}),
    ));
    assert_eq!((text(&called, 0), calls(&called).len()), (String::new(), 1));
    assert_fit(&calls(&called));
}

#[test]
fn thoughts_come_first_are_told_apart_and_counted() {
    let model = model(Family::Hermes);
    let (opens, closes) = (260, 261);
    let schema =
        json!({"type": "object", "properties": {"x": {"const": 7}}, "required": ["x"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let bias = |all: &[(u32, i32)]| -> Value { all.iter().map(|(token, bias)| (token.to_string(), *bias)).collect() };
    // It may think before an answer that is held to a schema, and the schema begins behind its thoughts.
    let thinks = json!({"response_format": format, "logprobs": true, "seed": 5, "logit_bias": bias(&[(opens, 12), (closes, 11)])});
    let mut all = json!({"max_tokens": 1500, "temperature": 1});
    all.as_object_mut().unwrap().extend(thinks.as_object().unwrap().clone());
    let events = model.answer(&chat_with("hi", &all));
    let thoughts: String = deltas(&events, 0).iter().map(|delta| delta.reasoning.as_str()).collect();
    assert_eq!(invalid(&[(schema.clone(), text(&events, 0))]), Vec::<String>::new());
    let used = usage(&events);
    assert!(used.reasoning >= 2 && used.reasoning < used.output, "{used:?}");
    println!("{thoughts:?}");
    let told: Vec<u8> =
        deltas(&events, 0).iter().flat_map(|delta| &delta.logprobs).flat_map(|it| it.bytes.clone()).collect();
    assert_eq!(String::from_utf8(told).unwrap(), text(&events, 0), "log probabilities are of the answer");
    // It need not.
    let quick = json!({"response_format": format, "seed": 5, "max_tokens": 600, "logit_bias": bias(&[(opens, -100)])});
    let events = model.answer(&chat_with("hi", &quick));
    assert_eq!((usage(&events).reasoning, invalid(&[(schema, text(&events, 0))])), (0, vec![]));
}

#[test]
fn a_template_that_opens_the_thoughts_is_read_from_within_them() {
    let thinking = "{% for m in messages %}{{ m.content }}{% endfor %}{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}";
    let model = Random::new(&Tiny::new().template(thinking));
    let ask = |effort: Value| {
        let fields = json!({"max_tokens": 20, "reasoning_effort": effort, "logit_bias": {"256": -100, "258": -100}});
        model.answer(&chat_with("hi", &fields))
    };
    let events = ask(Value::Null);
    assert_eq!((text(&events, 0), usage(&events).reasoning), (String::new(), 20));
    let events = ask("none".into());
    assert_eq!(usage(&events).reasoning, 0);
    assert!(!text(&events, 0).is_empty());
    // Other models' marks.
    for (begin, end) in [("<|START_THINKING|>", "<|END_THINKING|>"), ("[THINK]", "[/THINK]")] {
        let thinking = thinking.replace("<think>", begin).replace("</think>", end);
        let model = Random::new(&Tiny::new().template(&thinking));
        let fields = json!({"max_tokens": 20, "logit_bias": {"256": -100, "258": -100}});
        let events = model.answer(&chat_with("hi", &fields));
        assert_eq!((text(&events, 0), usage(&events).reasoning), (String::new(), 20), "{begin}");
    }
}

#[test]
fn tools_that_can_not_be_called_are_refused_with_their_field() {
    let model = model(Family::Llama);
    let function = |function: Value| json!([{"type": "function", "function": function}]);
    for (fields, field, word) in [
        (json!({"tools": function(json!({"name": "a b"}))}), "tools", "name"),
        (json!({"tools": function(json!({"name": "f", "parameters": {"type": "string"}}))}), "tools", "object"),
        (
            json!({"tools": function(json!({"name": "f", "parameters": {"type": "object", "not": {}}, "strict": true}))}),
            "tools",
            "not",
        ),
        (json!({"tools": [{"type": "custom", "custom": {"name": "f"}}]}), "tools", "custom"),
        (json!({"tools": [tools()[1], tools()[1]]}), "tools", "two"),
        (json!({"tools": [], "tool_choice": "required"}), "tool_choice", "no tools"),
        (json!({"tool_choice": {"type": "function", "function": {"name": "other"}}}), "tool_choice", "other"),
    ] {
        let (found, message) = model.refusal(&asked(&fields));
        assert_eq!(found, field, "{fields}: {message}");
        assert!(message.contains(word), "{message}");
    }
    // What is not strict is held to as far as it can be.
    let lenient = function(json!({"name": "f", "parameters": {"type": "object", "not": {}}}));
    model.tokenizer.prepare(&asked(&json!({"tools": lenient}))).unwrap();
}

#[test]
fn earlier_calls_and_results_are_in_the_prompt_as_the_template_writes_them() {
    let messages = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "get_time", "arguments": "{\"zone\": \"CET\"}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "noon"},
    ]);
    for (family, parts) in [
        (Family::Hermes, ["\"arguments\": {\"zone\": \"CET\"}", "tool: noon", "\"description\": \"The weather\""]),
        (
            Family::Generic,
            [
                "<tool_call>\n{\"name\": \"get_time\", \"arguments\": {\"zone\": \"CET\"}}",
                "user: <tool_response>\nnoon\n",
                "\"description\":\"The weather\"",
            ],
        ),
    ] {
        let model = model(family);
        let prompt = model.tokenizer.prompt(&asked(&json!({"messages": messages}))).unwrap();
        let prompt: Vec<u8> = prompt.into_iter().flat_map(|token| model.tokenizer.bytes(token).to_vec()).collect();
        let prompt = String::from_utf8(prompt).unwrap();
        assert!(parts.iter().all(|part| prompt.contains(part)), "{prompt}");
    }
}

#[test]
fn the_small_chat_model_calls_tools_that_its_template_does_not_know() {
    let weather = json!([{"type": "function", "function": {"name": "get_weather", "description": "Gets the weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false}}}]);
    let ask = |choice: &str| {
        let fields = json!({"tools": weather, "tool_choice": choice, "max_tokens": 120, "parallel_tool_calls": false});
        run(chat_with("What is the weather in Paris?", &fields))
    };
    let must = ask("required");
    let called = calls(&must);
    println!("{called:?}");
    assert_eq!(
        (called.len(), called[0].1.as_str(), finish(&must, 0).0),
        (1, "get_weather", Some(FinishReason::ToolCalls))
    );
    let arguments: Value = serde_json::from_str(&called[0].2).unwrap();
    assert!(arguments["city"].as_str().unwrap().contains("Paris"), "{arguments}");
    let may = ask("auto");
    println!("{:?} {:?}", text(&may, 0), calls(&may));
    assert!(matches!(finish(&may, 0).0, Some(FinishReason::ToolCalls | FinishReason::Stop | FinishReason::Length)));
}
