//! Compares templates with an oracle: Python's Jinja with Hugging Face's settings (`oracle.py`), installed once below
//! the build folder. Our templates must write the oracle's texts.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use engine::template::{Template, Thinking, Tokens};
use serde_json::{Value, json};
use wire::inference::{Conversation, Work};

const JINJA: &str = "jinja2==3.1.6";

/// A folder with the package, made whole or not at all.
fn jinja() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(JINJA);
    if !folder.is_dir() {
        let partial = folder.with_extension(format!("partial-{}", std::process::id()));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
        assert!(Command::new("python3").args(pip).arg(&partial).arg(JINJA).status().unwrap().success());
        // Another run may have been first.
        let _ = std::fs::rename(&partial, &folder);
    }
    folder
}

/// The oracle's text for each template.
fn expected(templates: &[String], context: &Value) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/oracle.py");
    let mut python = Command::new("python3");
    python.arg(script).env("PYTHONPATH", jinja()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    let cases: Vec<Value> = templates.iter().map(|template| json!([template, context])).collect();
    child.stdin.take().unwrap().write_all(Value::from(cases).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A conversation as we read it from a client, and in the form for Hugging Face's templates.
fn conversation() -> (Conversation, Value) {
    let tools = json!([{"type": "function", "function": {"name": "weather", "description": "What's <the> \"weather\" & more?\n",
        "parameters": {"type": "object", "required": ["place"], "properties": {"place": {"type": "string"}, "unit": {"enum": ["C", "F"], "default": null}},
        "numbers": [1, 2.0, -0.5, 1e16, 1e-7, 12_345_678_901_234_567_890_u64, true, false], "empty": {}, "none": []}}}]);
    let arguments = json!({"place": "Zürich 🦀", "z": 1, "a": [1]});
    let call = |arguments: Value| json!([{"id": "1", "type": "function", "function": {"name": "weather", "arguments": arguments}}]);
    let messages = |arguments: Value| {
        json!([
            {"role": "system", "content": "  Be brief. "},
            {"role": "user", "content": "<think>a</think>Hi, Ärger\nline\ttwo"},
            {"role": "assistant", "content": "", "tool_calls": call(arguments)},
            {"role": "tool", "content": "{\"t\": 3}", "tool_call_id": "1"},
            {"role": "user", "content": "Thanks"},
        ])
    };
    let context = json!({"messages": messages(arguments.clone()), "tools": tools, "documents": null, "add_generation_prompt": true,
        "bos_token": "<s>", "eos_token": "</s>"});
    // Clients send arguments as text.
    let asked = super::asked(&json!({"messages": messages(arguments.to_string().into()), "tools": tools}));
    let Work::Conversation(conversation) = asked.work else { panic!("not a conversation") };
    (*conversation, context)
}

fn templates() -> Vec<String> {
    let whole = [
        // A conversation with roles, tools and reasoning, in the usual forms of templates.
        "{{- bos_token }}\n{%- if tools %}\n  {{- '<|system|>\\n' }}\n  {%- for tool in tools %}\n    {{- tool | tojson }}\n  {%- endfor %}\n{%- endif %}\n{% for message in messages %}\n  {% if message['role'] == 'system' and loop.first %}\n[{{ message.content | trim }}]\n  {% elif message.role == 'assistant' %}\n{%- if message.tool_calls is defined and message.tool_calls %}{% for call in message.tool_calls %}{{ call.function.name }}({{ call.function.arguments | tojson(indent=2) }}){% if not loop.last %},{% endif %}{% endfor %}{% endif %}{{ eos_token }}\n  {% else %}\n<{{ message.role }}>{{ message.content }}</{{ message.role }}>\n  {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}<|assistant|>\n{% endif %}\n",
        "{% set ns = namespace(found=false, last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.found = true %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{{ ns.found }} {{ ns.last }} {{ (messages | length) - 1 - ns.last }}",
        "{% for m in messages[1:] %}{% if loop.index0 > 2 %}{% break %}{% endif %}{% if m.role == 'tool' %}{% continue %}{% endif %}{{ loop.index }}{{ m.role }}{{ loop.previtem.role if loop.previtem is defined else '-' }};{% endfor %}",
        "{% macro turn(role, text='none') %}<{{ role }}:{{ text }}>{% endmacro %}{% for m in messages %}{{ turn(m.role, text=m.content|trim) }}{% endfor %}{{ turn('x') }}",
        "{% for m in messages %}{% generation %}{{ m.role }}{% set y = 1 %}{% endgeneration %}{% endfor %}{{ y is defined }}",
        "  {% if true %}\n  a\n  {%- endif +%}\n b {#- c -#}\n d\n{% raw %}{{ x }}{% endraw %}\n\n",
        "{% if messages|length == 99 %}{{ raise_exception('no') }}{% endif %}{% set x %}block {{ 1 + 1 }}{% endset %}{{ x }}{% filter upper %}up{% endfilter %}",
        "{{ strftime_now('%Y-%m-%d %d %b %Y %A %j') }}{% if strftime_now is defined %}!{% endif %}",
        "{%- for a, b in {'k': 1, 'b': 2, 'a': 3}.items() %}{{ a }}{{ b }},{% endfor %}{% for k in tools[0].function.parameters %}{{ k }} {% endfor %}",
        "{% set x = messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list %}{{ x | length }}{{ x[-1] }}{{ messages | rejectattr('role', 'in', ['user', 'tool']) | list | length }}",
    ];
    let expressions = [
        // JSON.
        "tools | tojson",
        "tools | tojson(indent=4)",
        "tools | tojson(ensure_ascii=True)",
        "messages | tojson(indent=2, sort_keys=true)",
        "messages | tojson(separators=(',', ':'))",
        "tools | tojson(indent=None, separators=(', ', ': '))",
        "tools | tojson(true)",
        "{'b': [], 'a': {}, 'c': [[1]]} | tojson(indent=1)",
        "'<b>&\\'\"\\u007f' | tojson",
        "[none, true, 1.5, 'é', '🦀'] | tojson(ensure_ascii=true)",
        "{1: 2, none: 4, 1.5: 3} | tojson",
        // Formats.
        "'%s-%d' % ('a', 3)",
        "'%s' % messages[0].role",
        "'%05.1f|%-4s|%4s|%x|%%' % (3.14159, 'ab', 'cd', 255)",
        "'a' ~ '%s' % 1 ~ 'b'",
        "7 % 3 ~ ' ' ~ (-7) % 3",
        "'{}-{}'.format('a', 1)",
        "'{0}{x}'.format(1, x=2)",
        // Texts.
        "'a i b'.rsplit(' ', 1)[0]",
        "' a b  c '.split() | tojson",
        "'a,b,,c'.split(',') | tojson",
        "'a b c'.split(' ', 1) | tojson",
        "' a  b c '.rsplit(none, 1) | tojson",
        "' a  b c '.split(maxsplit=1) | tojson",
        "'a\\nb\\r\\nc\\x0bd'.splitlines() | tojson",
        "'xxabxx'.strip('x') ~ '|' ~ 'xxabxx'.lstrip('x') ~ '|' ~ 'xxabxx'.rstrip('x')",
        "'éa'.find('a') ~ ' ' ~ 'éaa'.rfind('a') ~ ' ' ~ 'x'.find('y') ~ ' ' ~ 'aXa'.find('a', 1) ~ ' ' ~ 'éa'.index('a')",
        "'ab'.startswith('a') ~ 'ab'.endswith(('x', 'b'))",
        "'a-b-c'.partition('-') | list | tojson ~ 'a-b-c'.rpartition('-') | list | tojson",
        "'prefix-x'.removeprefix('prefix-') ~ 'x.py'.removesuffix('.py')",
        "'hello world'.title() ~ 'hELLO'.capitalize() ~ 'aB'.swapcase() ~ 'ß'.upper() ~ 'AB'.lower()",
        "'7'.zfill(3) ~ '-7'.zfill(4) ~ '|' ~ 'a'.center(4) ~ '|' ~ 'a'.center(4, '*') ~ 'ab'.center(5, '*') ~ 'a'.ljust(3) ~ 'a'.rjust(3) ~ '|'",
        "''.isdigit() ~ '12'.isdigit() ~ 'a1'.islower() ~ 'A1'.isupper() ~ ''.isspace() ~ ' '.isspace() ~ 'a1'.isalnum() ~ 'a'.isalpha()",
        "'aaa'.replace('a', 'b', 2) ~ 'abcabc'.count('bc') ~ '-'.join(['a', 'b'])",
        "messages[1].content.split('</think>')[-1].lstrip('\\n')",
        "'hello'[1:3] ~ 'hello'[::-1] ~ 'hello'[-3:] ~ 'hello'[:-1] ~ 'hello'[0]",
        "messages[::-1][0].role ~ messages[-1].role ~ messages[1:3] | length ~ messages[:1][0].role",
        // Values.
        "none ~ true ~ 1.0 ~ 1 ~ 'a'",
        "[1, 'a', none, 'it\\'s', 'q\"', '\\n', [], {}]",
        "{'a': [1.5, true], 'b': {'c': 'é'}} | string",
        "messages[2].tool_calls",
        "[none, true, 0.5] | string ~ '|'",
        "'a' is string ~ 'a' is sequence ~ 'a' is iterable ~ 'a' is mapping ~ [] is sequence ~ {} is sequence ~ {} is mapping ~ {} is iterable ~ 1 is iterable",
        "true is number ~ 1 is number ~ true is boolean ~ 1 is integer ~ 1.0 is float ~ none is none ~ x is defined ~ x is undefined",
        "x is iterable ~ x is sequence ~ none is iterable ~ (x | default('d')) ~ ('' | default('d', true)) ~ (x or 'e')",
        "messages[0].get('nope') ~ messages[0].get('nope', 'd') ~ messages[0].get('role') ~ ('role' in messages[0]) ~ ('x' in 'xyz')",
        "messages[2].tool_calls[0].function.arguments.items() | list | tojson ~ messages[0].keys() | list | tojson",
        "messages[2].tool_calls[0].function.arguments | items | list | tojson",
        "{'b': 1, 'a': 2} | dictsort | tojson",
        "[3, 1, 2] | sort | join(',') ~ [1, 2, 2] | unique | list | length ~ [1, 2] | first ~ [1, 2] | last ~ [1, 2] | sum ~ [1, 2] | max",
        "' a ' | trim ~ 'ab' | upper ~ 'a b' | title ~ 'abc' | length ~ 'abc' | reverse ~ 'a' | capitalize ~ 'aa' | replace('a', 'b')",
        "'a\\nb' | indent(2) ~ '|' ~ 'a\\nb' | indent(2, true) ~ '|' ~ 'a' | indent",
        "('12' | int + 1) ~ ' ' ~ '1.5' | float ~ ' ' ~ 3.7 | int ~ ' ' ~ 3.14159 | round(2) ~ (-3) | abs ~ 7 // 2 ~ 7 / 2 ~ 2 ** 3",
        "range(3) | list ~ range(1, 6, 2) | list ~ (1 if true else 2) ~ (1 if false)",
        "['a', 'b'] | map('upper') | join ~ [1, 2, 3] | select('odd') | list ~ [1, 2, 3] | reject('odd') | list",
        "[1, 2, 3].index(2) ~ [1, 1].count(1) ~ dict(a=1) | length",
        "'a' 'b' ~ \"it's\" ~ 'q\"' ~ '\\t|'",
        "1 == 1.0 ~ (1 < 2 < 3) ~ (not none) ~ (none == none) ~ ('a' < 'b') ~ ('a' != 'b')",
    ];
    let written = expressions.iter().map(|expression| format!("{{{{ {expression} }}}}"));
    whole.iter().map(|template| (*template).to_owned()).chain(written).collect()
}

#[test]
fn templates_write_what_hugging_faces_do() {
    let ((conversation, context), templates) = (conversation(), templates());
    let expected = expected(&templates, &context);
    let mut apart = Vec::new();
    for (template, expected) in templates.iter().zip(&expected) {
        let named = vec![("bos_token", "<s>".to_owned()), ("eos_token", "</s>".to_owned())];
        let compiled = Template::new(template, Tokens { named, special: Vec::new() });
        let found =
            compiled.and_then(|compiled| compiled.render(&conversation.messages, &conversation.tools, Thinking::Open));
        match expected.as_str() {
            Some(text) if found.as_deref() == Ok(text) => {}
            _ => apart.push(format!("{template}\n  expected {expected}\n  found    {found:?}")),
        }
    }
    assert!(apart.is_empty(), "{} of {} differ:\n{}", apart.len(), templates.len(), apart.join("\n"));
}

#[test]
fn what_a_template_raises_is_told_in_its_own_words() {
    let template =
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}x";
    let (conversation, context) = conversation();
    let expected = expected(&[template.to_owned()], &context);
    let found = Template::new(template, Tokens::default())
        .unwrap()
        .render(&conversation.messages, &[], Thinking::Open)
        .unwrap_err();
    assert_eq!(expected, [json!({"error": found})]);
}
