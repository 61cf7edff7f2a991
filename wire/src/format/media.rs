//! Bytes that stand in a request itself: in base64, or in a `data:` address (RFC 2397).

use super::feature::is_data;
use crate::inference::Media;

/// Bytes in base64 with their media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::format) struct Inline<'a> {
    pub(in crate::format) media_type: &'a str,
    pub(in crate::format) base64: &'a str,
}

/// The bytes of a media, of the usual type where it names none. `None` where its bytes are elsewhere, or not in base64.
pub(in crate::format) fn inline<'a>(media: &'a Media, usual: &'a str) -> Option<Inline<'a>> {
    let address = match media {
        Media::Url(address) | Media::Data { base64: address, .. } if is_data(address) => address,
        Media::Data { media_type, base64 } => {
            return Some(Inline { media_type: media_type.as_deref().unwrap_or(usual), base64 });
        }
        Media::Url(_) | Media::Id(_) => return None,
    };
    let (head, base64) = address.get(5..)?.split_once(',')?;
    let mut words = head.split(';').map(str::trim);
    let media_type = words.next().filter(|word| !word.is_empty()).unwrap_or(usual);
    words.any(|word| word.eq_ignore_ascii_case("base64")).then_some(Inline { media_type, base64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_holds_bytes_is_split() {
        for (address, found) in [
            ("data:image/png;base64,AAAA", Some(("image/png", "AAAA"))),
            ("DATA:image/webp;charset=x; BASE64,AA==", Some(("image/webp", "AA=="))),
            ("data:;base64,AAAA", Some(("usual/type", "AAAA"))),
            ("data:text/plain,hello", None),
            ("data:image/png;base64", None),
            ("https://x/y.png", None),
        ] {
            let media = Media::Url(address.into());
            let found = found.map(|(media_type, base64)| Inline { media_type, base64 });
            assert_eq!(inline(&media, "usual/type"), found, "{address}");
        }
        let data = Media::Data { media_type: None, base64: "AA".into() };
        assert_eq!(inline(&data, "application/pdf"), Some(Inline { media_type: "application/pdf", base64: "AA" }));
        let data = Media::Data { media_type: None, base64: "data:image/png;base64,AA".into() };
        assert_eq!(inline(&data, "x/y").map(|inline| inline.media_type), Some("image/png"));
        assert_eq!(inline(&Media::Id("file-1".into()), "x/y"), None);
    }
}
