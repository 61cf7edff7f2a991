//! Forms of these routes: their files, and their fields as an object, so that they are read and changed as any other
//! request's are. A form has texts alone; which of them are numbers and which are true or false is known by their names.

use bytes::Bytes;
use serde_json::{Map, Number, Value};

use crate::{
    fields::{BadRequest, Fields},
    inference::Upload,
    multipart::{self, Part},
};

/// The longest field that is no file.
const LONGEST_FIELD: usize = 1 << 20;
/// Fields of Farebox's own.
const OWN_FLAG: &str = "autoScale";
const OWN_LIST: &str = "models";

/// What the fields of a route's forms are.
pub(super) struct Form {
    /// Fields that are files.
    pub(super) files: &'static [&'static str],
    /// Fields that are true or false.
    pub(super) flags: &'static [&'static str],
    /// Fields that are numbers.
    pub(super) numbers: &'static [&'static str],
    /// Fields that may come several times, also without brackets.
    pub(super) lists: &'static [&'static str],
}

impl Form {
    /// Reads a form: its fields, and its files in their order.
    ///
    /// # Errors
    ///
    /// The body is no form, or the first field that is wrong.
    pub(super) fn read(&self, content_type: &str, body: &Bytes) -> Result<(Fields, Vec<Upload>), BadRequest> {
        let multipart::Form { boundary, parts } = multipart::read(content_type, body)?;
        let (mut fields, mut files) = (Map::new(), Vec::new());
        for part in parts {
            if self.files.contains(&&*part.name) {
                let Part { name, file_name, media_type, bytes } = part;
                let field = name.into_boxed_str();
                files.push(Upload { field, name: file_name, media_type, bytes, boundary: boundary.clone() });
            } else {
                self.put(&mut fields, &part)?;
            }
        }
        Ok((Fields::parse(Value::Object(fields).to_string().as_bytes())?, files))
    }

    /// Adds a part to the fields.
    fn put(&self, fields: &mut Map<String, Value>, part: &Part) -> Result<(), BadRequest> {
        let name = &*part.name;
        let bad = |message: &str| BadRequest::new(name.chars().take(100).collect::<String>(), message);
        if part.bytes.len() > LONGEST_FIELD {
            return Err(bad("is too long"));
        }
        let text = std::str::from_utf8(&part.bytes).map_err(|_| bad("must be a text"))?;
        let is_flag = name == OWN_FLAG || self.flags.contains(&name);
        let value = match text {
            "true" if is_flag => Value::Bool(true),
            "false" if is_flag => Value::Bool(false),
            _ if is_flag => return Err(bad("must be true or false")),
            text if self.numbers.contains(&name) => {
                Value::Number(text.parse::<Number>().map_err(|_| bad("must be a number"))?)
            }
            text => Value::String(text.to_owned()),
        };
        let is_list = name.ends_with("[]") || name == OWN_LIST || self.lists.contains(&name);
        // Ours has one name, and no provider gets it.
        let name = name.strip_suffix("[]").filter(|name| *name == OWN_LIST).unwrap_or(name);
        match fields.get_mut(name) {
            Some(Value::Array(list)) => list.push(value),
            Some(_) => return Err(bad("comes twice")),
            None if is_list => drop(fields.insert(name.to_owned(), Value::Array(vec![value]))),
            None => drop(fields.insert(name.to_owned(), value)),
        }
        Ok(())
    }
}
