//! A document from which what is understood is taken, part by part. What nobody took is listed with its path.

use serde_json::Value;

/// What has no counterpart here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    /// Where it stands: `model_list[0].litellm_params.rpm`.
    pub(super) path: String,
    /// Why, or what to do instead.
    pub(super) why: String,
}

impl Left {
    pub(super) fn new(path: &str, why: impl Into<String>) -> Self {
        Self { path: path.to_owned(), why: why.into() }
    }
}

/// A part of a document.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) path: String,
    value: Value,
}

impl Part {
    /// A whole document.
    pub(super) const fn whole(value: Value) -> Self {
        Self { path: String::new(), value }
    }

    fn inner(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Whether it has a field that says something.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value.get(name).is_some_and(|value| !value.is_null())
    }

    /// Takes a field, where it says something.
    pub(super) fn take(&mut self, name: &str) -> Option<Self> {
        let path = self.inner(name);
        let value = self.value.as_object_mut()?.shift_remove(name).filter(|value| !value.is_null())?;
        Some(Self { path, value })
    }

    /// Takes a field that is text, or a number as it would be written. Another one stays.
    pub(super) fn take_text(&mut self, name: &str) -> Option<String> {
        let text = match self.value.get(name)? {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        self.take(name).map(|_| text)
    }

    /// Takes a flag, and says whether it is set.
    pub(super) fn take_flag(&mut self, name: &str) -> bool {
        self.take(name).is_some_and(|part| part.value == Value::Bool(true))
    }

    /// Takes a field that is a whole number. Another one stays.
    pub(super) fn take_number(&mut self, name: &str) -> Option<u64> {
        let number = self.value.get(name)?.as_u64()?;
        self.take(name).map(|_| number)
    }

    /// The items of a list; what is no list is one item.
    pub(super) fn items(self) -> Vec<Self> {
        match self.value {
            Value::Array(items) => {
                let path = |place| format!("{}[{place}]", self.path);
                let item = |(place, value)| Self { path: path(place), value };
                items.into_iter().enumerate().map(item).collect()
            }
            value => vec![Self { path: self.path, value }],
        }
    }

    /// The fields of an object, with their names; none of what is no object.
    pub(super) fn fields(self) -> Vec<(String, Self)> {
        let Value::Object(fields) = self.value else { return Vec::new() };
        let inner = |name: &str| if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        fields.into_iter().map(|(name, value)| (name.clone(), Self { path: inner(&name), value })).collect()
    }

    pub(super) fn text(&self) -> Option<&str> {
        self.value.as_str().map(str::trim)
    }

    /// The names of a list of texts; `None` where it is none.
    pub(super) fn names(&self) -> Option<Vec<String>> {
        let name = |value: &Value| value.as_str().map(|name| name.trim().to_owned());
        self.value.as_array()?.iter().map(name).collect()
    }

    /// Whether it says nothing: no value, an empty list, `false`.
    fn is_empty(value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::String(text) => text.is_empty(),
            Value::Bool(true) | Value::Number(_) => false,
        }
    }

    /// Lists all that is left in it. What says nothing is not missed.
    pub(super) fn leave(self, why: &impl Fn(&str) -> String, left: &mut Vec<Left>) {
        if Self::is_empty(&self.value) {
            return;
        }
        match self.value {
            Value::Object(_) => self.fields().into_iter().for_each(|(_, part)| part.leave(why, left)),
            Value::Array(ref items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                self.items().into_iter().for_each(|part| part.leave(why, left));
            }
            _ => {
                let reason = why(&self.path);
                left.push(Left::new(&self.path, reason));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_taken_is_listed_with_its_path() {
        let mut whole = Part::whole(json!({
            "a": {"b": 1, "c": "x", "d": null, "e": [], "f": false},
            "list": [{"n": 2}, {"n": 3}], "names": ["p", "q"], "taken": "t"
        }));
        assert_eq!(whole.take_text("taken").as_deref(), Some("t"));
        let mut inner = whole.take("a").unwrap();
        assert_eq!((inner.take_number("b"), inner.take_number("c")), (Some(1), None));
        let mut left = Vec::new();
        let why = |path: &str| format!("why {}", path.len());
        inner.leave(&why, &mut left);
        whole.leave(&why, &mut left);
        let paths: Vec<_> = left.iter().map(|left| &*left.path).collect();
        assert_eq!(paths, ["a.c", "list[0].n", "list[1].n", "names"]);
        assert_eq!(left[0].why, "why 3");
    }
}
