//! The families of forms in which models write calls of tools, and which of them a chat template speaks. Known by the
//! template's own text alone, so the same file is always of the same family.

/// A family of forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `<tool_call>{"name": ..., "arguments": ...}</tool_call>`: Hermes, Qwen 2.5 and 3.
    Hermes,
    /// `[TOOL_CALLS][{"name": ..., "arguments": ...}]`: Mistral 7B 0.3, Nemo.
    Mistral,
    /// `[TOOL_CALLS]name[ARGS]{...}`: Mistral's models since 2025.
    MistralArguments,
    /// `{"name": ..., "parameters": ...}` as the whole answer: Llama 3.1 to 3.3.
    Llama,
    /// A list between marks, each call `function`, its name and its arguments in a block of code: `DeepSeek` V3 and R1.
    DeepSeek,
    /// The same with the name and the arguments alone: `DeepSeek` V3.1.
    DeepSeekBare,
    /// `<|START_ACTION|>[{"tool_call_id": ..., "tool_name": ..., "parameters": ...}]<|END_ACTION|>`: Command R7B and A.
    Command,
    /// The template writes no tools, or in a form that is not known here: tools are described in a text of ours, and
    /// called as Hermes calls them.
    Generic,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Hermes,
        Self::Mistral,
        Self::MistralArguments,
        Self::Llama,
        Self::DeepSeek,
        Self::DeepSeekBare,
        Self::Command,
        Self::Generic,
    ];

    /// The family of a chat template's text. `lists_tools` says whether the template reads the tools that it is given.
    pub fn of(template: &str, lists_tools: bool) -> Self {
        let has = |text: &str| template.contains(text);
        if !lists_tools || !has("tool_calls") {
            return Self::Generic;
        }
        if has("[TOOL_CALLS]") {
            // Some write a name for the call between the two.
            return match (has("[ARGS]"), has("[CALL_ID]")) {
                (true, false) => Self::MistralArguments,
                (true, true) => Self::Generic,
                (false, _) => Self::Mistral,
            };
        }
        if has(DEEPSEEK.mark) {
            return match (has("<｜tool▁sep｜>"), has("```json")) {
                (true, true) => Self::DeepSeek,
                (true, false) => Self::DeepSeekBare,
                (false, _) => Self::Generic,
            };
        }
        if has(COMMAND.mark) {
            let is_known = has("\"tool_call_id\"") && has("\"tool_name\"") && has("\"parameters\"");
            return if is_known { Self::Command } else { Self::Generic };
        }
        if has("<tool_call>") {
            // Another form between the same marks.
            let is_json = !has("<function=") && !has("<arg_key>") && has("\"arguments\"") && has("\"name\"");
            return if is_json { Self::Hermes } else { Self::Generic };
        }
        if has("<|start_header_id|>") && has("\"parameters\"") {
            return Self::Llama;
        }
        Self::Generic
    }

    /// The family's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hermes => "hermes",
            Self::Mistral => "mistral",
            Self::MistralArguments => "mistral-arguments",
            Self::Llama => "llama",
            Self::DeepSeek => "deepseek",
            Self::DeepSeekBare => "deepseek-bare",
            Self::Command => "command",
            Self::Generic => "generic",
        }
    }

    /// How its calls are written.
    pub(crate) const fn syntax(self) -> &'static Syntax {
        match self {
            Self::Hermes | Self::Generic => &HERMES,
            Self::Mistral => &MISTRAL,
            Self::MistralArguments => &MISTRAL_ARGUMENTS,
            Self::Llama => &LLAMA,
            Self::DeepSeek => &DEEPSEEK,
            Self::DeepSeekBare => &DEEPSEEK_BARE,
            Self::Command => &COMMAND,
        }
    }
}

/// Stands in a text for a number of any length.
pub(crate) const NUMBER: char = '\u{1}';

/// How calls are written. Space within these texts is where space may be, and [`NUMBER`] is where a number is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Syntax {
    /// What a call, or a list of them, begins with.
    pub(crate) mark: &'static str,
    /// Where the mark counts.
    pub(crate) place: Place,
    /// What opens a list, behind the mark.
    pub(crate) opening: &'static str,
    /// What stands before a call's name.
    pub(crate) head: &'static str,
    /// What stands between the name and the arguments.
    pub(crate) between: &'static str,
    /// What stands behind the arguments.
    pub(crate) tail: &'static str,
    /// What may follow a call.
    pub(crate) next: Next,
    /// The characters of a call's id. Some templates refuse any other number.
    pub(crate) id: Id,
}

/// Where a mark begins a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Wherever it stands.
    Anywhere,
    /// At the beginning of the answer alone, perhaps behind this.
    Start(&'static str),
}

/// What may follow a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another, with its own mark.
    Mark,
    /// Another, or the end of the list.
    List {
        /// What stands before another.
        separator: &'static str,
        /// What ends the list.
        close: &'static str,
    },
    /// Nothing.
    End,
}

/// How calls are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Id {
    /// As OpenAI's.
    Long,
    /// Of nine letters and digits.
    Nine,
}

const HERMES: Syntax = Syntax {
    mark: "<tool_call>",
    place: Place::Anywhere,
    opening: "",
    head: "\n{\"name\": \"",
    between: "\", \"arguments\": ",
    tail: "}\n</tool_call>",
    next: Next::Mark,
    id: Id::Long,
};
const MISTRAL: Syntax = Syntax {
    mark: "[TOOL_CALLS]",
    place: Place::Anywhere,
    opening: " [",
    head: "{\"name\": \"",
    between: "\", \"arguments\": ",
    tail: "}",
    next: Next::List { separator: ", ", close: "]" },
    id: Id::Nine,
};
const MISTRAL_ARGUMENTS: Syntax = Syntax {
    mark: "[TOOL_CALLS]",
    place: Place::Anywhere,
    opening: "",
    head: "",
    between: "[ARGS]",
    tail: "",
    next: Next::Mark,
    id: Id::Nine,
};
const LLAMA: Syntax = Syntax {
    mark: "{\"name\": \"",
    place: Place::Start("<|python_tag|>"),
    opening: "",
    head: "",
    between: "\", \"parameters\": ",
    tail: "}",
    next: Next::End,
    id: Id::Long,
};
const DEEPSEEK: Syntax = Syntax {
    mark: "<｜tool▁calls▁begin｜>",
    place: Place::Anywhere,
    opening: "",
    head: "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
    between: "\n```json\n",
    tail: "\n```<｜tool▁call▁end｜>",
    next: DEEPSEEK_NEXT,
    id: Id::Long,
};
const DEEPSEEK_BARE: Syntax = Syntax {
    mark: "<｜tool▁calls▁begin｜>",
    place: Place::Anywhere,
    opening: "",
    head: "<｜tool▁call▁begin｜>",
    between: "<｜tool▁sep｜>",
    tail: "<｜tool▁call▁end｜>",
    next: DEEPSEEK_NEXT,
    id: Id::Long,
};
const DEEPSEEK_NEXT: Next = Next::List { separator: "\n", close: "<｜tool▁calls▁end｜>" };
const COMMAND: Syntax = Syntax {
    mark: "<|START_ACTION|>",
    place: Place::Anywhere,
    opening: "[\n    ",
    head: "{\"tool_call_id\": \"\u{1}\", \"tool_name\": \"",
    between: "\", \"parameters\": ",
    tail: "}",
    next: Next::List { separator: ",\n    ", close: "\n]<|END_ACTION|>" },
    id: Id::Long,
};

impl Syntax {
    /// All texts of the form.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &'static str> {
        let before = match self.place {
            Place::Anywhere => "",
            Place::Start(before) => before,
        };
        let [separator, close] = match self.next {
            Next::Mark | Next::End => ["", ""],
            Next::List { separator, close } => [separator, close],
        };
        [before, self.mark, self.opening, self.head, self.between, self.tail, separator, close].into_iter()
    }
}

/// A piece of a text: what may be the name of a special token, or other characters.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = (&str, bool)> {
    const MARKS: [(char, char); 2] = [('<', '>'), ('[', ']')];
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let named = MARKS.iter().find(|(open, _)| *open == first).and_then(|(_, close)| rest.find(*close));
        let end = named.map_or(first.len_utf8(), |at| at + 1);
        let (piece, left) = rest.split_at(end);
        rest = left;
        Some((piece, named.is_some()))
    })
}

/// What a model's thoughts stand between.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Thoughts {
    /// What they begin with.
    pub(crate) begin: &'static str,
    /// What they end with.
    pub(crate) end: &'static str,
}

impl Thoughts {
    /// Those that are known: of most models, of Command R7B and A, of Magistral.
    pub(crate) const ALL: [&'static Self; 3] = [
        &Self { begin: "<think>", end: "</think>" },
        &Self { begin: "<|START_THINKING|>", end: "<|END_THINKING|>" },
        &Self { begin: "[THINK]", end: "[/THINK]" },
    ];

    /// Those of which one mark, or both, are so.
    pub(crate) fn with(is_so: impl Fn(&'static str) -> bool) -> Option<&'static Self> {
        Self::ALL.into_iter().find(|thoughts| is_so(thoughts.begin) || is_so(thoughts.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_templates_own_text_says_its_family() {
        let qwen = r#"{%- if tools %}For each function call, return a json object within <tool_call></tool_call>:
            <tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>{% endif %}{{ message.tool_calls }}"#;
        let coder = r#"{{ tools }}{{ tool_calls }}<tool_call>\n<function=x>\n<parameter=y>"name" "arguments""#;
        let llama = r#"<|start_header_id|>Respond in the format {"name": function name, "parameters": dictionary}. {{ tool_calls }}"#;
        let deepseek = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{{ tool_calls.name }}<｜tool▁sep｜>";
        let in_code = format!("{deepseek}\n```json\n");
        let command = r#"<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "{{ tool_calls }}", "parameters": {}}]"#;
        for (text, lists, family) in [
            (qwen, true, Family::Hermes),
            (qwen, false, Family::Generic),
            (coder, true, Family::Generic),
            ("[AVAILABLE_TOOLS][TOOL_CALLS]{{ message.tool_calls }}", true, Family::Mistral),
            ("[TOOL_CALLS]{{ tool_calls.name }}[ARGS]", true, Family::MistralArguments),
            ("[TOOL_CALLS]{{ tool_calls.name }}[CALL_ID]x[ARGS]", true, Family::Generic),
            (llama, true, Family::Llama),
            ("<|im_start|>{{ message.content }}", false, Family::Generic),
            ("<|tool_calls_section_begin|>{{ tool_calls }}", true, Family::Generic),
            (in_code.as_str(), true, Family::DeepSeek),
            (deepseek, true, Family::DeepSeekBare),
            ("<｜tool▁calls▁begin｜>{{ tool_calls }}", true, Family::Generic),
            (command, true, Family::Command),
            ("<|START_ACTION|>{{ tool_calls }}", true, Family::Generic),
        ] {
            assert_eq!(Family::of(text, lists), family, "{text}");
        }
    }
}
