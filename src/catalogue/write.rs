//! Price files as they are written: sorted by name, a short block for each model. A comment at the head of a file stays.

use std::fmt::Write as _;

use billing::Timestamp;
use wire::inference::Task;

use super::{ClosedModel, entry::TASKS};

/// A provider's file. `head` is the comment at its beginning.
pub fn file<'a>(head: &str, provider: &str, models: impl IntoIterator<Item = &'a ClosedModel>) -> String {
    let mut text = head.trim_end().to_owned();
    if !text.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "provider = {provider:?}");
    let mut models: Vec<_> = models.into_iter().collect();
    models.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    for model in models {
        text.push('\n');
        write_model(&mut text, model);
    }
    text
}

/// The comment at the beginning of a file.
pub fn head_of(text: &str) -> String {
    let lines = text.lines().take_while(|line| line.is_empty() || line.starts_with('#'));
    lines.fold(String::new(), |head, line| head + line + "\n")
}

/// A day, or a time where it is none.
pub fn day_text(at: Timestamp) -> String {
    if at == at.day_start() { at.date() } else { at.to_string() }
}

fn write_model(text: &mut String, model: &ClosedModel) {
    let ClosedModel { id, provider: _, price, context, max_output, task, about } = model;
    let _ = writeln!(text, "[[model]]\nid = {}", quoted(id));
    if *task != Task::Chat
        && let Some((_, word)) = TASKS.iter().find(|(known, _)| known == task)
    {
        let _ = writeln!(text, "task = \"{word}\"");
    }
    for (name, number) in [("context", *context), ("max_output", *max_output)] {
        if number > 0 {
            let _ = writeln!(text, "{name} = {number}");
        }
    }
    for (name, words) in [("source", &about.source), ("date", &about.date)] {
        if !words.is_empty() {
            let _ = writeln!(text, "{name} = {}", quoted(words));
        }
    }
    if about.deprecated {
        text.push_str("deprecated = true\n");
    }
    if let Some(ends) = about.ends {
        let _ = writeln!(text, "ends = \"{}\"", day_text(ends));
    }
    if let Some(reason) = &about.disputed {
        let _ = writeln!(text, "disputed = {}", quoted(reason));
    }
    for (part, reason) in &about.left_out {
        let _ = writeln!(text, "left_out.{part} = {}", quoted(reason));
    }
    if let Some(price) = price {
        text.push_str(&price.to_toml("model.price"));
    }
    for change in &about.changes {
        let _ = writeln!(text, "[[model.change]]\nvalid_from = \"{}\"", day_text(change.valid_from));
        text.push_str(&change.price.to_toml("model.change.price"));
    }
}

/// A text in TOML's quotes.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Book, entry};

    fn again(provider: &str, models: &[ClosedModel]) -> Vec<ClosedModel> {
        let text = file("# A head.\n\n# Two.\n", provider, models);
        assert!(text.starts_with("# A head.\n\n# Two.\nprovider = "), "{text}");
        assert_eq!(head_of(&text).trim_end(), "# A head.\n\n# Two.");
        entry::read(&text).unwrap_or_else(|wrong| panic!("{:?}: {}\n{text}", wrong.entry, wrong.what))
    }

    #[test]
    fn what_is_written_is_read_as_the_same_entries() {
        let book = Book::built_in().unwrap();
        for provider in ["anthropic", "cohere", "google", "mistral", "openai"] {
            let of_it = book.entries().iter().filter(|model| *model.provider == *provider);
            let models: Vec<_> = of_it.map(|model| ClosedModel::clone(model)).collect();
            assert_eq!(again(provider, &models), models);
        }
    }

    #[test]
    fn the_built_in_files_are_as_they_would_be_written() {
        for (provider, text) in [
            ("anthropic", include_str!("../../config/prices/anthropic.toml")),
            ("cohere", include_str!("../../config/prices/cohere.toml")),
            ("google", include_str!("../../config/prices/google.toml")),
            ("mistral", include_str!("../../config/prices/mistral.toml")),
            ("openai", include_str!("../../config/prices/openai.toml")),
        ] {
            let models = entry::read(text).ok().unwrap();
            let written = file(&head_of(text), provider, &models);
            if std::env::var_os("FAREBOX_TEST_WRITE").is_some() {
                let path = format!("{}/config/prices/{provider}.toml", env!("CARGO_MANIFEST_DIR"));
                std::fs::write(path, &written).unwrap();
            }
            assert!(written == text, "run this test with FAREBOX_TEST_WRITE=1 to write {provider}.toml");
        }
    }

    #[test]
    fn a_price_of_any_form_is_written_and_read() {
        let long = "input = '1'\noutput = '2'\ncache_write_long = '3'\nband = { above = 5, input = '4', output = '5' }";
        for written in [
            "input = '1'\noutput = '2.5'",
            long,
            &format!(
                "{long}\nbatch = {{ input = '0.5' }}\nflex = {{ output = '1', band = {{ above = 5, input = '1', output = '2' }} }}"
            ),
            "[per_million]\n'tokens.input' = '1'\n'tokens.input.flex' = '0.5'",
            "[per_million]\n'tokens.input.above_7' = '1'\n'tokens.input.above_9' = '2'\n'tokens.output' = '1'",
            "input = '1'\noutput = '2'\n[per_million]\n'tokens.input.audio.cache_write_12h.flex.above_272000' = '0.123456'\n\
             'characters.input' = '15'\n[each]\nweb_searches = '0.01'\n'images.output.high' = '0.17'",
            "[each]\n'milliseconds.input' = '0.000000058333333333333'\nsearch_units = '0.002'",
        ] {
            let price: billing::price::Price = toml::from_str(written).unwrap();
            let text = price.to_toml("model.price");
            let text = text.strip_prefix("[model.price]\n").map_or_else(|| text.clone(), str::to_owned);
            let read: billing::price::Price = match text.strip_prefix("price = ") {
                Some(_) => {
                    toml::from_str::<std::collections::BTreeMap<String, _>>(&text).unwrap().remove("price").unwrap()
                }
                None => toml::from_str(&text).unwrap(),
            };
            assert_eq!(read, price, "{written}\n\n{text}");
        }
    }
}
