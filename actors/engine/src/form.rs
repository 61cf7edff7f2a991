//! The form of a request's answers: what holds them to a schema or to the calls of tools, and how what is written is read.
//! Made as a request is prepared, from what it asks for and from what its model's template writes.

use std::collections::HashSet;

use serde_json::{Value, json};
use wire::format::feature::Feature;
use wire::inference::{Conversation, Failure, Format, OutputFormat, ReasoningWanted, Tool, ToolChoice, ToolKind};

use super::calls::family::{Family, Id, Next, Syntax, Thoughts, pieces};
use super::calls::grammar::{Callable, Count, rules};
use super::calls::reader::{Expected, MOST_NAME, Reader};
use super::grammar::{Beginning, Constraint, Grammars, Guide, Strictness, bounded, on_a_large_stack};
use super::template::Template;
use super::tokenizer::Tokenizer;

/// The most tools of a request.
const MOST_TOOLS: usize = 128;
/// The most bytes of all tools' parameters.
const MOST_BYTES: usize = 256 << 10;

/// The form of a request's answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Form {
    constraint: Option<Constraint>,
    /// `None`: all that is written is text.
    expected: Option<Expected>,
    /// Whether the prompt has begun the model's thoughts.
    is_thinking: bool,
    /// Special tokens that are a part of the form, with their names.
    visible: Vec<(u32, Box<[u8]>)>,
}

impl Form {
    /// The form of a conversation's answers, for a client of this format. `is_thinking` where its prompt has begun the
    /// model's thoughts.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Failure::Invalid) with the client's field, where the model can't be held to what is asked for.
    pub(crate) fn of(
        tokenizer: &Tokenizer,
        conversation: &Conversation,
        format: Format,
        is_thinking: bool,
    ) -> Result<Self, Failure> {
        let asked = Asked::of(conversation, format)?;
        let family = tokenizer.template().map_or(Family::Generic, Template::family);
        let thoughts = tokenizer.thoughts();
        let mut form = Self { is_thinking, ..Self::default() };
        let mut parts: Vec<&str> = thoughts.map_or_else(Vec::new, |thoughts| vec![thoughts.begin, thoughts.end]);
        let syntax = asked.calls.then(|| family.syntax());
        if let Some(syntax) = syntax {
            parts.extend(syntax.texts().flat_map(pieces).filter(|(_, may_be_special)| *may_be_special).map(|it| it.0));
        }
        if syntax.is_some() || thoughts.is_some() {
            let names = conversation.tools.iter().map(|tool| tool.name.clone()).collect();
            form.expected = Some(Expected { calls: syntax.map(|syntax| (syntax, names)), thoughts });
        }
        let special = parts.into_iter().filter_map(|text| Some((tokenizer.special(text)?, text.as_bytes().into())));
        form.visible = special.collect();
        if syntax.is_some() || asked.output.is_some() {
            let thoughts = thoughts.filter(|_| !is_unwanted(&conversation.reasoning));
            let opens = thoughts.and_then(|thoughts| tokenizer.token(thoughts.begin));
            let compile = || asked.constraint(tokenizer, syntax, conversation, opens);
            let broken = |message: String| Failure::Invalid { field: asked.field.to_owned(), message };
            form.constraint = Some(on_a_large_stack(compile).map_err(broken)??);
        }
        Ok(form)
    }

    /// What holds one choice to it.
    pub(crate) fn guide(&self) -> Option<Guide> {
        let beginning = if self.is_thinking { Beginning::Thoughts } else { Beginning::Answer };
        self.constraint.as_ref().map(|constraint| constraint.guide(beginning))
    }

    /// What reads one choice.
    pub(crate) fn reader(&self) -> Option<Reader> {
        self.expected.clone().map(|expected| Reader::new(expected, self.is_thinking))
    }

    /// How its calls are numbered.
    pub(crate) fn ids(&self) -> Id {
        let calls = self.expected.as_ref().and_then(|expected| expected.calls.as_ref());
        calls.map_or(Id::Long, |(syntax, _)| syntax.id)
    }

    /// What a token writes, special ones that are a part of the form included.
    pub(crate) fn bytes<'a>(&'a self, tokenizer: &'a Tokenizer, token: u32) -> &'a [u8] {
        let visible = self.visible.iter().find(|(special, _)| *special == token);
        visible.map_or_else(|| tokenizer.bytes(token), |(_, name)| name)
    }
}

/// What a conversation asks for.
struct Asked<'a> {
    /// The schema of an answer that must be JSON.
    output: Option<&'a str>,
    /// Whether tools may be called.
    calls: bool,
    /// The client's field that is named where answers can't be held to it.
    field: &'static str,
    tools_field: &'static str,
}

impl<'a> Asked<'a> {
    fn of(conversation: &'a Conversation, format: Format) -> Result<Self, Failure> {
        let (feature, output) = match &conversation.output {
            OutputFormat::Text => (None, None),
            OutputFormat::JsonObject => (Some(Feature::JsonObject), Some(r#"{"type":"object"}"#)),
            OutputFormat::JsonSchema { schema, .. } => (Some(Feature::JsonSchema), Some(&**schema)),
        };
        let tools_field = Feature::CustomTool.field(format);
        let calls = !conversation.tools.is_empty() && conversation.tool_choice != Some(ToolChoice::None);
        let asked =
            Self { output, calls, field: feature.map_or(tools_field, |feature| feature.field(format)), tools_field };
        let choice = Feature::NamedTool.field(format);
        let invalid = |message: String| Err(Failure::Invalid { field: choice.to_owned(), message });
        match &conversation.tool_choice {
            Some(ToolChoice::Required) if !calls => invalid("there are no tools that could be called".to_owned()),
            Some(ToolChoice::Named(name)) if !conversation.tools.iter().any(|tool| tool.name == *name) => {
                let shown: String = name.chars().take(MOST_NAME).collect();
                invalid(format!("there is no tool {shown}"))
            }
            Some(ToolChoice::None | ToolChoice::Auto | ToolChoice::Required | ToolChoice::Named(_)) | None => Ok(asked),
        }
    }

    fn invalid(&self, message: String) -> Failure {
        Failure::Invalid { field: self.tools_field.to_owned(), message }
    }

    /// Compiles what holds the answers. `opens` is the token with which the model may think first.
    fn constraint(
        &self,
        tokenizer: &Tokenizer,
        syntax: Option<&Syntax>,
        conversation: &Conversation,
        opens: Option<u32>,
    ) -> Result<Constraint, Failure> {
        let invalid = |message: String| Failure::Invalid { field: self.field.to_owned(), message };
        let output = self.output.map(|schema| bounded(schema, Strictness::Exact)).transpose().map_err(invalid)?;
        let output = output.map(|schema| format!("output: %json {}\n", Value::Object(schema)));
        let mut grammars = Grammars { ends_when_closed: output.is_some(), ..Grammars::default() };
        match (syntax, output) {
            (None, output) => grammars.start = output.map(|output| format!("start: output\n{output}")),
            (Some(syntax), output) => {
                let callable = self.callable(conversation)?;
                let is_single = conversation.parallel_tool_calls == Some(false) || syntax.next == Next::End;
                let must = matches!(conversation.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
                let is_named = matches!(conversation.tool_choice, Some(ToolChoice::Named(_)));
                let count = if is_single || is_named { Count::One } else { Count::Several };
                let rules = rules(syntax, &callable, count, |text| tokenizer.special(text));
                match output {
                    _ if must => {
                        grammars.start = Some(format!("start: marked\n{rules}"));
                        grammars.ends_when_closed = false;
                    }
                    Some(output) => {
                        grammars.start = Some(format!("start: output | marked\n{output}{rules}"));
                        // Another call may follow the bracket of one.
                        grammars.ends_when_closed = !syntax.tail.is_empty() || count == Count::One;
                    }
                    None => {
                        grammars.behind = Some(format!("start: behind\n{rules}"));
                        grammars.goes_on = count == Count::Several && syntax.next == Next::Mark;
                    }
                }
            }
        }
        let vocabulary = tokenizer.grammar_tokens().map_err(invalid)?;
        Constraint::compile(vocabulary, self.field, grammars, opens)
    }

    /// The tools that may be called.
    fn callable(&self, conversation: &Conversation) -> Result<Vec<Callable>, Failure> {
        let tools = &conversation.tools;
        if tools.len() > MOST_TOOLS {
            return Err(self.invalid(format!("there are {} of them; the most are {MOST_TOOLS}", tools.len())));
        }
        let bytes: usize = tools.iter().filter_map(|tool| tool.parameters.as_ref()).map(String::len).sum();
        if bytes > MOST_BYTES {
            return Err(self.invalid(format!("their parameters have {bytes} bytes; the most are {MOST_BYTES}")));
        }
        let mut names = HashSet::new();
        for Tool { name, kind, .. } in tools {
            let shown: String = name.chars().take(MOST_NAME).collect();
            let is_name = (1..=MOST_NAME).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte));
            if !is_name {
                let message =
                    format!("{shown:?} is no name of a tool: 1 to {MOST_NAME} of a-z, A-Z, 0-9, and _ - . : /");
                return Err(self.invalid(message));
            }
            if *kind == ToolKind::Custom {
                return Err(self.invalid(format!("{shown} is a custom tool; open models call functions alone")));
            }
            if !names.insert(name) {
                return Err(self.invalid(format!("there are two tools {shown}")));
            }
        }
        let is_wanted = |tool: &&Tool| match &conversation.tool_choice {
            Some(ToolChoice::Named(name)) => tool.name == *name,
            Some(ToolChoice::None | ToolChoice::Auto | ToolChoice::Required) | None => true,
        };
        tools.iter().filter(is_wanted).map(|tool| self.one(tool)).collect()
    }

    fn one(&self, tool: &Tool) -> Result<Callable, Failure> {
        let strictness = if tool.strict == Some(true) { Strictness::Exact } else { Strictness::Lenient };
        let invalid = |why: String| self.invalid(format!("the parameters of {}: {why}", tool.name));
        let none = r#"{"type":"object","properties":{},"additionalProperties":false}"#;
        let parameters = tool.parameters.as_deref().map(str::trim).filter(|schema| !schema.is_empty()).unwrap_or(none);
        let mut schema = bounded(parameters, strictness).map_err(invalid)?;
        match schema.get("type") {
            None => {
                schema.insert("type".to_owned(), json!("object"));
            }
            Some(kind) if kind == "object" => {}
            Some(_) => return Err(invalid("their type must be object".to_owned())),
        }
        Ok(Callable { name: tool.name.clone(), schema })
    }
}

/// Whether a client wants no thoughts.
pub(crate) fn is_unwanted(reasoning: &ReasoningWanted) -> bool {
    reasoning.effort.as_deref() == Some("none") || reasoning.max_tokens == Some(0)
}

/// Whether a prompt's text ends within the model's thoughts, as its template began them.
pub(crate) fn begins_thoughts(thoughts: Option<&Thoughts>, prompt: &str) -> bool {
    thoughts.is_some_and(|thoughts| prompt.trim_end().ends_with(thoughts.begin))
}
