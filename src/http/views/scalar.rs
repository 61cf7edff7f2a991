//! Single values: dollars and times. Each has one spelling everywhere.

use std::fmt;

use billing::{Nanos, Timestamp};
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, SchemaType, Type},
    },
};

/// An exact amount of dollars, as a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Dollars(Nanos);

impl From<Nanos> for Dollars {
    fn from(amount: Nanos) -> Self {
        Self(amount)
    }
}

impl fmt::Display for Dollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialSchema for Dollars {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^-?[0-9]+\\.[0-9]{2,9}$"))
            .description(Some("Dollars, exact, with two to nine decimals."))
            .examples(["10.00"])
            .into()
    }
}

impl ToSchema for Dollars {}

/// A time in UTC, as in RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(Timestamp);

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl Time {
    /// An optional time.
    pub fn of(at: Option<Timestamp>) -> Option<Self> {
        at.map(Self)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("An instant in UTC (RFC 3339)."))
            .examples(["2026-11-24T09:30:00.000Z"])
            .into()
    }
}

impl ToSchema for Time {}

/// A field that is always there, and may be null.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Nullable<T>(pub Option<T>);

/// An object without a described shape.
pub fn any_object() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Object).into()
}

/// Such an object, or null.
pub fn any_object_or_null() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::Object, Type::Null])).into()
}

/// An amount of dollars in a request: a string or a number.
#[derive(Debug)]
pub struct Amount;

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).examples(["10.00"]);
        OneOfBuilder::new()
            .item(text)
            .item(ObjectBuilder::new().schema_type(Type::Number))
            .description(Some("Dollars, as a text (exact) or a number, with at most nine decimals."))
            .into()
    }
}

impl ToSchema for Amount {}

/// A time in a request.
#[derive(Debug)]
pub struct Instant;

impl PartialSchema for Instant {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).examples(["2027-01-01"]);
        OneOfBuilder::new()
            .item(text)
            .item(ObjectBuilder::new().schema_type(Type::Integer))
            .description(Some("A date, an RFC 3339 time, or milliseconds since 1970."))
            .into()
    }
}

impl ToSchema for Instant {}
