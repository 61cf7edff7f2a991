use proptest::prelude::*;

use super::*;
use crate::calls::family::Family;

/// Parts of one kind after each other are one; where they begin is told by the first.
fn joined(parts: Vec<Part>) -> Vec<(Kind, String)> {
    let mut joined: Vec<(Kind, Vec<u8>)> = Vec::new();
    for part in parts {
        match joined.last_mut() {
            Some((kind, bytes)) if *kind == part.kind && part.kind != Kind::Call => bytes.extend(part.bytes),
            _ => joined.push((part.kind, part.bytes)),
        }
    }
    joined.into_iter().map(|(kind, bytes)| (kind, String::from_utf8(bytes).unwrap())).collect()
}

fn reader(family: Option<Family>, is_thinking: bool) -> Reader {
    reader_of(Thoughts::ALL[0], family, is_thinking)
}

fn reader_of(thoughts: &'static Thoughts, family: Option<Family>, is_thinking: bool) -> Reader {
    let names: Arc<[String]> = ["f".to_owned(), "get_weather".to_owned()].into();
    let calls = family.map(|family| (family.syntax(), names));
    Reader::new(Expected { calls, thoughts: Some(thoughts) }, is_thinking)
}

/// The parts of a text, read at once; every cut of it into two, and into single bytes, must give the same.
fn read(family: Option<Family>, is_thinking: bool, text: &str) -> (Vec<(Kind, String)>, u32) {
    read_by(&reader(family, is_thinking), text)
}

fn read_by(reader: &Reader, text: &str) -> (Vec<(Kind, String)>, u32) {
    let of = |pieces: &[&[u8]]| {
        let mut reader = reader.clone();
        let mut parts: Vec<Part> = pieces.iter().flat_map(|piece| reader.push(piece).0).collect();
        parts.extend(reader.finish());
        for part in parts.iter().filter(|part| !matches!(part.kind, Kind::Call | Kind::ArgumentsEnd)) {
            assert_eq!(&text.as_bytes()[part.at..part.at + part.bytes.len()], part.bytes, "where it begins");
        }
        (joined(parts), reader.calls())
    };
    let whole = of(&[text.as_bytes()]);
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(of(&bytes), whole, "byte by byte");
    for at in 0..text.len() {
        let (one, other) = text.as_bytes().split_at(at);
        assert_eq!(of(&[one, other]), whole, "cut at {at}");
    }
    whole
}

fn call(name: &str, arguments: &str) -> Vec<(Kind, String)> {
    vec![(Kind::Call, name.to_owned()), (Kind::Arguments, arguments.to_owned()), (Kind::ArgumentsEnd, String::new())]
}

fn text(text: &str) -> Vec<(Kind, String)> {
    vec![(Kind::Text, text.to_owned())]
}

fn thoughts(text: &str) -> Vec<(Kind, String)> {
    vec![(Kind::Thoughts, text.to_owned())]
}

#[test]
fn calls_of_every_family_are_read() {
    let arguments = r#"{"city": "Zürich }\"", "n": [1, {"x": "<tool_call>"}]}"#;
    let hermes = format!("<tool_call>\n{{\"name\": \"f\", \"arguments\": {arguments}}}\n</tool_call>");
    let both = [call("f", arguments), call("f", arguments)].concat();
    assert_eq!(read(Some(Family::Hermes), false, &hermes), (call("f", arguments), 1));
    assert_eq!(read(Some(Family::Generic), false, &format!("{hermes}\n{hermes}\n")), (both.clone(), 2));
    assert_eq!(
        read(Some(Family::Hermes), false, &format!("Let me look.\n\n{hermes} Done.")),
        ([text("Let me look."), call("f", arguments), text("Done.")].concat(), 1)
    );
    let one = format!(r#"{{"name": "f", "arguments": {arguments}}}"#);
    assert_eq!(read(Some(Family::Mistral), false, &format!("[TOOL_CALLS] [{one}, {one}]")), (both.clone(), 2));
    assert_eq!(
        read(
            Some(Family::MistralArguments),
            false,
            &format!("ok[TOOL_CALLS]f[ARGS]{arguments}[TOOL_CALLS]f[ARGS]{arguments}")
        ),
        ([text("ok"), both.clone()].concat(), 2)
    );
    let [begin, sep, end] = ["<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"];
    let [open, close] = ["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"];
    let one = format!("{begin}function{sep}f\n```json\n{arguments}\n```{end}");
    assert_eq!(read(Some(Family::DeepSeek), false, &format!("ok{open}{one}{close}")).0[1..], call("f", arguments));
    assert_eq!(read(Some(Family::DeepSeek), false, &format!("{open}{one}\n{one}{close}")), (both.clone(), 2));
    let one = format!("{begin}f{sep}{arguments}{end}");
    assert_eq!(read(Some(Family::DeepSeekBare), false, &format!("{open}{one}{one}{close}")), (both.clone(), 2));
    let one = |id: &str| format!(r#"{{"tool_call_id": "{id}", "tool_name": "f", "parameters": {arguments}}}"#);
    let written = format!("<|START_ACTION|>[\n    {},\n    {}\n]<|END_ACTION|>", one("0"), one("12"));
    assert_eq!(read(Some(Family::Command), false, &written), (both.clone(), 2));
    for before in ["", "\n", "<|python_tag|>"] {
        for (space, tail) in [(" ", "}"), ("", "}"), ("\n  ", "\n}")] {
            let written = format!("{before}{{\"name\":{space}\"get_weather\", \"parameters\":{space}{arguments}{tail}");
            assert_eq!(read(Some(Family::Llama), false, &written), (call("get_weather", arguments), 1), "{written}");
        }
    }
}

#[test]
fn what_is_no_call_is_text() {
    for (family, written) in [
        (Some(Family::Hermes), "a <tool_cal l> <tool_call"),
        (Some(Family::Hermes), "<tool_call>\n{\"name\": \"unknown\", \"arguments\": {}}"),
        (Some(Family::Hermes), "<tool_call>nothing of a call"),
        (Some(Family::Llama), r#"Say {"name": "f", "parameters": {}}"#),
        (Some(Family::Llama), r#"{"names": ["f"]}"#),
        (Some(Family::Llama), r#"{"name": "Ada", "age": 36}"#),
        (Some(Family::Mistral), "[TOOL_CALLS] none"),
        (Some(Family::DeepSeek), "<｜tool▁calls▁begin｜>none"),
        (Some(Family::Command), r#"<|START_ACTION|>[{"tool_call_id": "x""#),
        (None, "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>"),
        (None, "  and <think>later</think> "),
        (Some(Family::Hermes), "  space before and behind \n "),
    ] {
        assert_eq!(read(family, false, written), (text(written), 0), "{written}");
    }
}

#[test]
fn a_call_that_is_cut_is_told_as_far_as_it_is_known() {
    let (parts, calls) = read(Some(Family::Hermes), false, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1,");
    assert_eq!((parts, calls), (call("f", "{\"a\": [1,")[..2].to_vec(), 0));
    // Of one whose name is not whole there is nothing to tell.
    for (family, cut) in [
        (Family::Hermes, "<tool_call>\n{\"name\": \"get_wea"),
        (Family::Hermes, "<tool_call>"),
        (Family::Llama, "{\"name\": \"f"),
        (Family::Mistral, "[TOOL_CALLS] [{\"name\""),
        (Family::MistralArguments, "[TOOL_CALLS]f"),
        (Family::DeepSeek, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function"),
        (Family::Command, "<|START_ACTION|>[\n    {\"tool_call_id\": \"1"),
    ] {
        assert_eq!(read(Some(family), false, cut), (vec![], 0), "{cut}");
        assert_eq!(read(Some(family), true, &format!("hm</think>{cut}")), (thoughts("hm"), 0), "{cut}");
    }
    assert_eq!(read(Some(Family::Hermes), false, "So: <tool_call>\n{\"na"), (text("So:"), 0));
}

#[test]
fn thoughts_are_apart_wherever_they_are_opened() {
    for (is_thinking, written, parts) in [
        (false, "<think>\nhm <b>\n\nso\n</think>\n\nYes.", [thoughts("hm <b>\n\nso"), text("Yes.")].concat()),
        (true, "\nhm\n</think>\n\nYes.\n", [thoughts("hm"), text("Yes.\n")].concat()),
        (true, "hm, cut", thoughts("hm, cut")),
        (true, "</think>Yes", text("Yes")),
        (false, "\n<think></think>", vec![]),
        (false, "<think>a</think><think>b", [thoughts("a"), text("<think>b")].concat()),
        // Not whole.
        (false, "<thin", text("<thin")),
    ] {
        for marks in Thoughts::ALL {
            // The same in other marks.
            let written = written.replace("<think>", marks.begin).replace("</think>", marks.end);
            let written = written.replace("<thin", &marks.begin[..marks.begin.len() - 2]);
            let same = |text: &String| {
                text.replace("<think>", marks.begin).replace("<thin", &marks.begin[..marks.begin.len() - 2])
            };
            let parts: Vec<_> = parts.iter().map(|(kind, text)| (*kind, same(text))).collect();
            assert_eq!(read_by(&reader_of(marks, None, is_thinking), &written), (parts, 0), "{written}");
        }
    }
    let command = "<|START_THINKING|>I look it up.<|END_THINKING|><|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \
                   \"tool_name\": \"f\", \"parameters\": {}}\n]<|END_ACTION|>";
    let (parts, calls) = read_by(&reader_of(Thoughts::ALL[1], Some(Family::Command), false), command);
    assert_eq!((parts, calls), ([thoughts("I look it up."), call("f", "{}")].concat(), 1));
    let written =
        "<think>\na <tool_call> b\n</think>\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
    let (parts, calls) = read(Some(Family::Hermes), false, written);
    assert_eq!((parts, calls), ([thoughts("a <tool_call> b"), call("f", "{}")].concat(), 1));
}

#[test]
fn the_moment_of_a_turn_is_told_with_what_is_behind_it() {
    let mut hermes = reader(Some(Family::Hermes), true);
    assert_eq!(hermes.push(b"hm</th").1, Turned::Nothing);
    assert!(hermes.is_thinking());
    assert_eq!(hermes.push(b"ink>\n\nx").1, Turned::Answer(b"\n\nx".to_vec()));
    assert_eq!(hermes.push(b"y <tool_call").1, Turned::Nothing);
    assert_eq!(hermes.push(b">\n{").1, Turned::Call(b"\n{".to_vec()));
    let mut llama = reader(Some(Family::Llama), false);
    assert_eq!(llama.push(b"{\"name\"").1, Turned::Nothing);
    assert_eq!(llama.push(b":\"get").1, Turned::Call(b"get".to_vec()));
    assert_eq!(reader(None, false).push(b"<think>").1, Turned::Thoughts);
}

proptest! {
    #[test]
    fn no_bytes_are_lost_and_any_cut_is_read_alike(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "<think>", "</think>", "<tool_call>", "</tool_call>", "\n", " ", "{\"name\": \"f\", \"arguments\": ", "{\"a\": \"}\"}", "}",
            "é", "x", "<", "[TOOL_CALLS]", "[", "]", ", ", "f[ARGS]", "{\"name\": \"", "\", \"parameters\": ", "<|python_tag|>", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>",
            "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>", "function", "\n```json\n", "```", "<|START_ACTION|>",
            "{\"tool_call_id\": \"7", "\", \"tool_name\": \"", "<|END_ACTION|>",
        ]), 0..12),
        family in prop::sample::select(Family::ALL.to_vec()),
        is_thinking in any::<bool>(),
    ) {
        read(Some(family), is_thinking, &pieces.concat());
    }
}
