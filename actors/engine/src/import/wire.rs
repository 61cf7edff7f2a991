//! The fields of a protocol buffer (its encoding, "Wire format"), read in place: nothing is copied, and nothing is
//! allocated whatever a file claims. What contradicts the format is an error.

/// The bytes are no protocol buffer, or break off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// A field's value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number.
    Number(u64),
    /// Four or eight bytes: no field that is read here has such.
    Fixed,
    /// A text, a message, or packed numbers.
    Bytes(&'a [u8]),
}

/// The fields of a message, in the order in which they are written.
#[derive(Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of these bytes.
    pub(super) const fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let key = number(&mut self.0)?;
        let tag = u32::try_from(key >> 3).ok().filter(|tag| *tag > 0).ok_or(Malformed)?;
        let value = match key & 7 {
            0 => Value::Number(number(&mut self.0)?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = number(&mut self.0)?;
                Value::Bytes(self.take(usize::try_from(length).map_err(|_| Malformed)?)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups are of an older version than ONNX's.
            _ => return Err(Malformed),
        };
        Ok((tag, value))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            // After an error there is nothing to be read.
            self.0 = &[];
        }
        Some(field)
    }
}

/// Takes a number from the beginning of some bytes.
pub(super) fn number(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut found = 0;
    for at in 0..10 {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed)?;
        *bytes = rest;
        found |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Ok(found);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_place_and_what_breaks_off_is_an_error() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 0, 0, 0, 0];
        let found: Vec<_> = Fields::of(&bytes).collect();
        assert_eq!(found, [Ok((1, Value::Number(150))), Ok((2, Value::Bytes(b"hi"))), Ok((3, Value::Fixed))]);
        for length in [1, 2, 4, 5, 6, 8, 11] {
            assert!(Fields::of(&bytes[..length]).any(|field| field.is_err()), "{length}");
        }
        for wrong in
            [&[0x00, 0x00][..], &[0x0b], &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]]
        {
            assert!(Fields::of(wrong).any(|field| field.is_err()), "{wrong:?}");
        }
        let endless = [0x12, 0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert_eq!(Fields::of(&endless).collect::<Vec<_>>(), [Err(Malformed)]);
    }
}
