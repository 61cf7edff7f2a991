//! The size of a client's body in what reading it costs: an object or a value of two bytes takes a hundred once it is read. So
//! both are counted before anything is read. Brackets and commas are counted first as bytes, and only a body that has too
//! many of them, which may be those of texts, is walked through.

use memchr::{memchr_iter, memchr2};

use super::BadRequest;

/// The most objects of a body. Providers take less: the most that any takes is 100,000 messages (Anthropic API, "Messages").
pub(super) const MOST_OBJECTS: usize = 200_000;
/// The most values of a body. The longest lists are of tokens: 300,000 in a request for vectors (OpenAI API, "Embeddings").
pub(super) const MOST_VALUES: usize = 500_000;

/// Refuses a body that has more objects or values than any provider takes.
pub(super) fn check(body: &[u8]) -> Result<(), BadRequest> {
    let at_most = |byte, most| memchr_iter(byte, body).nth(most).is_none();
    if at_most(b'{', MOST_OBJECTS) && at_most(b',', MOST_VALUES) {
        return Ok(());
    }
    let Size { objects, commas } = Size::of(body);
    if objects > MOST_OBJECTS {
        return Err(BadRequest::new("body", format!("must have at most {MOST_OBJECTS} objects")));
    }
    if commas > MOST_VALUES {
        return Err(BadRequest::new("body", format!("must have at most {MOST_VALUES} values")));
    }
    Ok(())
}

/// Brackets and commas outside of texts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Size {
    objects: usize,
    commas: usize,
}

impl Size {
    fn of(body: &[u8]) -> Self {
        let (mut size, mut place) = (Self::default(), 0);
        while let Some(byte) = body.get(place) {
            place += 1;
            match byte {
                b'"' => place = behind_text(body, place),
                b'{' => size.objects += 1,
                b',' => size.commas += 1,
                _ => {}
            }
        }
        size
    }
}

/// The place behind a text whose first quote is behind us.
fn behind_text(body: &[u8], mut place: usize) -> usize {
    while let Some(found) = body.get(place..).and_then(|left| memchr2(b'"', b'\\', left)) {
        place += found + 1;
        if body[place - 1] == b'"' {
            return place;
        }
        // What is escaped.
        place += 1;
    }
    body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_texts_is_not_counted() {
        let size = |text: &str| {
            let Size { objects, commas } = Size::of(text.as_bytes());
            (objects, commas)
        };
        assert_eq!(size(r#"{"a,{":[1,2,{"b":"\",{\\"},{}]}"#), (3, 3));
        assert_eq!(size(r#"{"a":"{,\\\"{,"#), (1, 0), "a text without an end");
        assert_eq!(size(r#""\"#), (0, 0));
        let texts = format!(r#"{{"a":"{}"}}"#, "{,".repeat(MOST_VALUES + 1));
        assert_eq!(check(texts.as_bytes()), Ok(()));
    }

    #[test]
    fn more_than_the_most_is_refused_and_the_most_is_not() {
        let list = |entry: &str, count: usize| format!(r#"{{"a":[{}]}}"#, vec![entry; count].join(","));
        assert_eq!(check(list("{}", MOST_OBJECTS - 1).as_bytes()), Ok(()));
        let objects = check(list("{}", MOST_OBJECTS).as_bytes()).unwrap_err();
        assert!(objects.message.contains("200000 objects"), "{objects}");
        assert_eq!(check(list("7", MOST_VALUES + 1).as_bytes()), Ok(()));
        let values = check(list("7", MOST_VALUES + 2).as_bytes()).unwrap_err();
        assert!(values.message.contains("500000 values"), "{values}");
    }
}
