//! Answers of the SDK in the shape that the AWS CLI prints, field by field.
//!
//! What is absent in an answer stays absent; an empty list stays an empty list; a value that the SDK does not know yet
//! keeps its own spelling. Fields that no decision needs and that change by themselves (times, counts of free
//! addresses, DNS names) are left out on purpose: the same world gives the same bytes.
//!
//! EC2 spells keys in PascalCase, EKS in camelCase (ARCHITECTURE, "Reading AWS").

pub(crate) mod cluster;
pub(crate) mod network_acl;
pub(crate) mod network_interface;
pub(crate) mod route_table;
pub(crate) mod security_group;
pub(crate) mod transit_gateway;
pub(crate) mod vpc;

use aws_sdk_ec2::types::Tag;
use serde_json::{Map, Value};

/// A JSON object in the making; absent fields add nothing.
#[derive(Debug, Default)]
pub(crate) struct Shape(Map<String, Value>);

impl Shape {
    /// Adds a text.
    pub(crate) fn text(self, key: &str, value: &Option<String>) -> Self {
        self.value(key, value.clone().map(Value::from))
    }

    /// Adds a value of an enumeration by its spelling, known to the SDK or not.
    pub(crate) fn word(self, key: &str, value: Option<&str>) -> Self {
        self.value(key, value.map(Value::from))
    }

    /// Adds a truth value.
    pub(crate) fn boolean(self, key: &str, value: Option<bool>) -> Self {
        self.value(key, value.map(Value::from))
    }

    /// Adds a number.
    pub(crate) fn number(self, key: &str, value: Option<i64>) -> Self {
        self.value(key, value.map(Value::from))
    }

    /// Adds an object.
    pub(crate) fn object<T>(
        self,
        key: &str,
        value: &Option<T>,
        shape: impl Fn(&T) -> Value,
    ) -> Self {
        self.value(key, value.as_ref().map(shape))
    }

    /// Adds a list of objects.
    pub(crate) fn list<T>(
        self,
        key: &str,
        values: &Option<Vec<T>>,
        shape: impl Fn(&T) -> Value,
    ) -> Self {
        self.value(
            key,
            values
                .as_ref()
                .map(|values| values.iter().map(shape).collect()),
        )
    }

    /// Adds a list of texts.
    pub(crate) fn texts(self, key: &str, values: &Option<Vec<String>>) -> Self {
        self.value(key, values.clone().map(Value::from))
    }

    /// Adds tags, under the name that this answer has for them.
    pub(crate) fn tags(self, key: &str, tags: &Option<Vec<Tag>>) -> Self {
        self.list(key, tags, |tag| {
            Shape::default()
                .text("Key", &tag.key)
                .text("Value", &tag.value)
                .into()
        })
    }

    fn value(mut self, key: &str, value: Option<Value>) -> Self {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value);
        }
        self
    }
}

impl From<Shape> for Value {
    fn from(shape: Shape) -> Self {
        Value::Object(shape.0)
    }
}
