//! A JSON value that knows where it is.

use serde_json::Value;

use crate::snapshot::{Consequence, Gap, GapKind};

/// Longest piece of an unreadable value that a gap shows, in characters.
const FOUND_MAX: usize = 80;

/// A value of an answer, with the path to it.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    value: &'a Value,
    file: &'a str,
    path: String,
    id: Option<&'a str>,
}

/// A field that is there in a form that nobody expects, or not there.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    gap: Gap,
}

impl Fault {
    /// Makes the gap of the fault.
    pub(crate) fn gap(mut self, consequence: Consequence) -> Gap {
        self.gap.consequence = consequence;
        self.gap
    }
}

impl<'a> Node<'a> {
    /// The whole answer of a file.
    pub(crate) fn file(file: &'a str, value: &'a Value) -> Self {
        Self {
            value,
            file,
            path: String::new(),
            id: None,
        }
    }

    /// The value itself.
    pub(crate) fn value(&self) -> &'a Value {
        self.value
    }

    /// Stem of the file.
    pub(crate) fn stem(&self) -> &'a str {
        self.file
    }

    /// Says whose field the values below are.
    pub(crate) fn named(mut self, id: &'a str) -> Self {
        self.id = Some(id);
        self
    }

    /// The field of that name; null counts as absent.
    pub(crate) fn field(&self, name: &str) -> Option<Node<'a>> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Node {
            value,
            path: self.below(name),
            ..self.clone()
        })
    }

    fn below(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// The items of a list; not a list: a fault.
    pub(crate) fn items(&self) -> Result<Vec<Node<'a>>, Fault> {
        let list = self
            .value
            .as_array()
            .ok_or_else(|| self.malformed("a list"))?;
        Ok(list
            .iter()
            .enumerate()
            .map(|(place, value)| Node {
                value,
                path: format!("{}[{place}]", self.path),
                ..self.clone()
            })
            .collect())
    }

    /// The items of a list field; an absent field has none.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<Node<'a>>, Fault> {
        self.field(name)
            .map_or(Ok(Vec::new()), |field| field.items())
    }

    /// A text.
    pub(crate) fn as_text(&self) -> Result<&'a str, Fault> {
        self.value.as_str().ok_or_else(|| self.malformed("a text"))
    }

    /// A text field that may be absent.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, Fault> {
        self.field(name).map(|field| field.as_text()).transpose()
    }

    /// A text field that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<&'a str, Fault> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// A truth value field that may be absent.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        self.field(name)
            .map(|field| {
                field
                    .value
                    .as_bool()
                    .ok_or_else(|| field.malformed("true or false"))
            })
            .transpose()
    }

    /// An integer field that may be absent.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Fault> {
        self.field(name)
            .map(|field| {
                field
                    .value
                    .as_i64()
                    .ok_or_else(|| field.malformed("an integer"))
            })
            .transpose()
    }

    /// A text field that something must be made of.
    pub(crate) fn parsed<T, E>(
        &self,
        name: &str,
        wanted: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Fault> {
        let Some(field) = self.field(name) else {
            return Ok(None);
        };
        field.parse(wanted, parse).map(Some)
    }

    /// Something made of this text.
    pub(crate) fn parse<T, E>(
        &self,
        wanted: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, Fault> {
        parse(self.as_text()?).map_err(|_| self.malformed(wanted))
    }

    /// Says that this value is not what was wanted.
    pub(crate) fn malformed(&self, wanted: &'static str) -> Fault {
        let found: String = self.value.to_string().chars().take(FOUND_MAX).collect();
        self.fault(GapKind::Malformed { wanted, found })
    }

    /// Says that a field is not there.
    pub(crate) fn missing(&self, name: &str) -> Fault {
        let mut fault = self.fault(GapKind::Missing);
        fault.gap.path = self.below(name);
        fault
    }

    /// Says anything else about this value.
    pub(crate) fn fault(&self, kind: GapKind) -> Fault {
        Fault {
            gap: Gap {
                file: self.file.to_owned(),
                path: self.path.clone(),
                id: self.id.map(str::to_owned),
                kind,
                consequence: Consequence::None,
            },
        }
    }
}
