//! What stands in a column, whatever the database: integers, text, bytes, and none of them. Names and digests are kept as
//! their text, documents as JSON.
//!
//! A parameter says its kind even where it is none, so that no database has to guess it.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a column does not hold what was looked for.
pub(crate) type ColumnError = Box<dyn Error + Send + Sync>;

/// A parameter of a statement.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    /// An integer, or none.
    Integer(Option<i64>),
    /// Text, or none.
    Text(Option<Cow<'a, str>>),
    /// Bytes, or none.
    Blob(Option<&'a [u8]>),
    /// What no column can hold, and why.
    Unfit(String),
}

/// What a column holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ValueRef<'a> {
    /// Nothing.
    Null,
    /// An integer.
    Integer(i64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

/// What can be a parameter.
pub(crate) trait ToColumn {
    /// None of this kind.
    const NONE: Value<'static>;

    /// As it is kept.
    fn to_value(&self) -> Value<'_>;
}

/// What can be read from a column.
pub(crate) trait FromColumn: Sized {
    /// From what is kept.
    fn from_value(value: ValueRef<'_>) -> Result<Self, ColumnError>;
}

/// A statement's parameters, in order.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::column::ToColumn::to_value(&$value)),*]
    };
}
pub(crate) use params;

/// A value kept as the text it is shown as.
pub(crate) struct Text<T>(pub(crate) T);

/// A value kept as JSON.
pub(crate) struct Json<T>(pub(crate) T);

/// Integers, all of which are kept with 64 bits and a sign.
macro_rules! integer {
    ($($kind:ty),*) => {$(
        impl ToColumn for $kind {
            const NONE: Value<'static> = Value::Integer(None);

            fn to_value(&self) -> Value<'_> {
                i64::try_from(*self).map_or_else(
                    |_| Value::Unfit(format!("{self} is more than can be kept")),
                    |value| Value::Integer(Some(value)),
                )
            }
        }

        impl FromColumn for $kind {
            fn from_value(value: ValueRef<'_>) -> Result<Self, ColumnError> {
                Ok(Self::try_from(i64_of(value)?)?)
            }
        }
    )*};
}

integer!(i64, u32, u64, usize);

impl ToColumn for bool {
    const NONE: Value<'static> = Value::Integer(None);

    fn to_value(&self) -> Value<'_> {
        Value::Integer(Some(i64::from(*self)))
    }
}

impl ToColumn for str {
    const NONE: Value<'static> = Value::Text(None);

    fn to_value(&self) -> Value<'_> {
        Value::Text(Some(Cow::Borrowed(self)))
    }
}

impl ToColumn for String {
    const NONE: Value<'static> = Value::Text(None);

    fn to_value(&self) -> Value<'_> {
        self.as_str().to_value()
    }
}

impl ToColumn for [u8] {
    const NONE: Value<'static> = Value::Blob(None);

    fn to_value(&self) -> Value<'_> {
        Value::Blob(Some(self))
    }
}

impl ToColumn for Vec<u8> {
    const NONE: Value<'static> = Value::Blob(None);

    fn to_value(&self) -> Value<'_> {
        Value::Blob(Some(self))
    }
}

impl<T: ToColumn + ?Sized> ToColumn for &T {
    const NONE: Value<'static> = T::NONE;

    fn to_value(&self) -> Value<'_> {
        T::to_value(self)
    }
}

impl<T: ToColumn> ToColumn for Option<T> {
    const NONE: Value<'static> = T::NONE;

    fn to_value(&self) -> Value<'_> {
        self.as_ref().map_or(T::NONE, T::to_value)
    }
}

impl<T: Display> ToColumn for Text<T> {
    const NONE: Value<'static> = Value::Text(None);

    fn to_value(&self) -> Value<'_> {
        Value::Text(Some(Cow::Owned(self.0.to_string())))
    }
}

impl<T: Serialize> ToColumn for Json<T> {
    const NONE: Value<'static> = Value::Text(None);

    fn to_value(&self) -> Value<'_> {
        match serde_json::to_string(&self.0) {
            Ok(text) => Value::Text(Some(Cow::Owned(text))),
            Err(error) => Value::Unfit(error.to_string()),
        }
    }
}

impl FromColumn for bool {
    fn from_value(value: ValueRef<'_>) -> Result<Self, ColumnError> {
        Ok(i64_of(value)? != 0)
    }
}

impl FromColumn for String {
    fn from_value(value: ValueRef<'_>) -> Result<Self, ColumnError> {
        Ok(text_of(value)?.to_owned())
    }
}

impl FromColumn for Vec<u8> {
    fn from_value(value: ValueRef<'_>) -> Result<Self, ColumnError> {
        match value {
            ValueRef::Blob(bytes) => Ok(bytes.to_vec()),
            other => Err(unexpected("bytes", other)),
        }
    }
}

impl<T: FromColumn> FromColumn for Option<T> {
    fn from_value(value: ValueRef<'_>) -> Result<Self, ColumnError> {
        match value {
            ValueRef::Null => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl<T: FromStr<Err: Error + Send + Sync + 'static>> FromColumn for Text<T> {
    fn from_value(value: ValueRef<'_>) -> Result<Self, ColumnError> {
        Ok(Self(text_of(value)?.parse()?))
    }
}

impl<T: DeserializeOwned> FromColumn for Json<T> {
    fn from_value(value: ValueRef<'_>) -> Result<Self, ColumnError> {
        Ok(Self(serde_json::from_str(text_of(value)?)?))
    }
}

fn i64_of(value: ValueRef<'_>) -> Result<i64, ColumnError> {
    match value {
        ValueRef::Integer(value) => Ok(value),
        other => Err(unexpected("an integer", other)),
    }
}

fn text_of(value: ValueRef<'_>) -> Result<&str, ColumnError> {
    match value {
        ValueRef::Text(text) => Ok(text),
        other => Err(unexpected("text", other)),
    }
}

fn unexpected(wanted: &str, found: ValueRef<'_>) -> ColumnError {
    let found = match found {
        ValueRef::Null => "nothing",
        ValueRef::Integer(_) => "an integer",
        ValueRef::Text(_) => "text",
        ValueRef::Blob(_) => "bytes",
    };
    format!("it holds {found} where {wanted} should be").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_keeps_its_kind_and_what_is_too_large_is_said() {
        assert!(matches!(None::<u64>.to_value(), Value::Integer(None)));
        assert!(matches!(None::<&str>.to_value(), Value::Text(None)));
        assert!(matches!(Some(vec![1]).to_value(), Value::Blob(Some([1]))));
        assert!(matches!(u64::MAX.to_value(), Value::Unfit(why) if why.contains("18446744073709551615")));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(u32::from_value(ValueRef::Integer(-1)).is_err());
        assert_eq!(u64::from_value(ValueRef::Integer(7)).ok(), Some(7));
        assert_eq!(Option::<String>::from_value(ValueRef::Null).ok(), Some(None));
        let error = String::from_value(ValueRef::Integer(1)).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("it holds an integer where text should be"));
    }
}
