//! The canonical spelling of an email address, so that nobody gets two accounts by spelling it in two ways. Spaces
//! around the address are removed, equivalent Unicode characters become one form (NFKC), and letters become lower case.
//! By the standard, upper and lower case before the @ may differ (RFC 5321, section 2.4), but no mail host in use does
//! that. The database holds canonical addresses unique.

use unicode_normalization::UnicodeNormalization;

/// The longest address, in bytes (RFC 5321, section 4.5.3.1.3, without its brackets).
const LONGEST: usize = 254;
/// The longest part before the @.
const LONGEST_USER: usize = 64;
/// The longest part of a host's name.
const LONGEST_LABEL: usize = 63;

/// Characters that end an address in a header or a list.
const SEPARATORS: &str = "()<>[],;:\\\"";

/// The canonical spelling of an address.
///
/// # Errors
///
/// The text is not an e-mail address. The error says the rule that it breaks, in words that follow a field's name.
pub fn canonical(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Err("must not be empty");
    }
    if text.len() > LONGEST {
        return Err("must have at most 254 bytes");
    }
    let small = text.nfkc().collect::<String>().to_lowercase().nfkc().collect::<String>();
    if small.len() > LONGEST {
        return Err("must have at most 254 bytes");
    }
    if small.chars().any(is_invisible) {
        return Err("must not have control characters, spaces or characters that can't be seen");
    }
    let (user, host) = small.split_once('@').ok_or("must be an address such as ada@example.com")?;
    let is_user = !user.is_empty()
        && user.len() <= LONGEST_USER
        && !user.chars().any(|c| SEPARATORS.contains(c))
        && user.split('.').all(|part| !part.is_empty());
    if !is_user {
        return Err("must have a name of 1 to 64 bytes before its @, without separators or empty parts");
    }
    let is_label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || is_mark(c))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !host.split('.').all(is_label) {
        return Err("must have the name of a host after its @, such as example.com");
    }
    Ok(small)
}

/// Whether a character is a combining mark, with which some scripts write letters.
fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}

/// Whether a character is a control or a space, is invisible, or turns the direction of writing.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_address_is_one() {
        for text in ["ada@example.com", "ADA@example.com", " Ada@Example.COM\t", "\u{ff41}da@example.com"] {
            assert_eq!(canonical(text).as_deref(), Ok("ada@example.com"), "{text:?}");
        }
        // Composed and decomposed characters; a ligature and its letters.
        assert_eq!(canonical("R\u{e9}mi@example.com"), canonical("re\u{301}mi@example.com"));
        assert_eq!(canonical("\u{fb01}n@example.com").as_deref(), Ok("fin@example.com"));
        for plain in ["a+b@x.y", "o'neil_1@mail.example", "demo@farebox.local", "\u{7528}\u{6237}@\u{4f8b}\u{5b50}.cn"]
        {
            assert_eq!(canonical(plain).as_deref(), Ok(plain));
            assert_eq!(canonical(&canonical(plain).unwrap()).as_deref(), Ok(plain));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(65));
        let longer = format!("a@{}.com", "b.".repeat(130));
        for text in [
            "",
            " ",
            "@",
            "a",
            "a@",
            "@b",
            "a@b@c",
            "a b@c.d",
            "a@b c",
            "a\u{0}@b.c",
            "a@b.c\nbcc: d@e.f",
            "a\u{200b}@b.c",
            "\u{202e}a@b.c",
            "<a@b.c>",
            "a,b@c.d",
            "\"a\"@b.c",
            ".a@b.c",
            "a.@b.c",
            "a..b@c.d",
            "a@.c",
            "a@c.",
            "a@-b.c",
            "a@b-.c",
            "a@[127.0.0.1]",
            "a@b_c.d",
            "a@b/c",
            &long,
            &longer,
        ] {
            assert!(canonical(text).is_err(), "{text:?}");
        }
    }
}
