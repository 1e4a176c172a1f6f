//! What a document is: by what it holds first, by the name of its file second.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::known::{bare, flattened, item_answer, list_answer, text};
use super::name::{self, Claim};
use super::{ANSWERS, Answer, Form, Nature, Refusal};

/// Longest piece of an object that a refusal quotes, in characters of its JSON.
const QUOTED_MAX: usize = 200;

/// One answer, or a part of it, out of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// File that it stands in, as its reader knows it.
    pub file: String,
    /// Key of the answer in a snapshot: `STEM` or `STEM.ID`, or the name of the file where no answer is known.
    pub key: String,
    /// The answer; absent where the document is none that the model knows.
    pub answer: Option<&'static Answer>,
    /// The id behind the stem, or in a single answer the name of its thing.
    pub id: Option<String>,
    /// The document in the form of the command.
    pub value: Value,
    /// What is worth a note: the file has another name, or something in it is left out.
    pub note: Option<String>,
}

impl Piece {
    /// Returns how many things the answer has, where it has a list.
    #[must_use]
    pub fn count(&self) -> Option<usize> {
        let key = match self.answer?.form {
            Form::List { key, .. } | Form::ListOf { key, .. } => key,
            Form::Objects { .. } if text(&self.value, "kind") == Some("Status") => return None,
            Form::Objects { .. } if self.value.get("items").is_none() => return Some(1),
            Form::Objects { .. } => "items",
            Form::Single { .. } | Form::Plain { .. } => return None,
        };
        self.value.get(key)?.as_array().map(Vec::len)
    }
}

/// Takes a document of a file for what it holds: one answer, several kinds of objects, or a whole snapshot.
///
/// # Errors
/// [`Refusal`] for a document that is an error, or that is not what its name promises and nothing else either.
pub fn sort(file: &str, document: Value) -> Result<Vec<Piece>, Refusal> {
    sort_member(file, file, document)
}

/// Sorts a document whose name is a key of a snapshot in a file.
fn sort_member(file: &str, name: &str, document: Value) -> Result<Vec<Piece>, Refusal> {
    let sorter = Sorter {
        file,
        claim: name::claim(name),
        name,
    };
    match document {
        Value::Object(fields) => sorter.object(fields),
        Value::Array(items) => sorter.list(items),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            Err(sorter.refuse(Nature::Scalar, &other))
        }
    }
}

/// Sorts the documents of one file.
struct Sorter<'a> {
    file: &'a str,
    /// What the name promises.
    claim: Claim,
    /// The name: of the file, or the key in a file with a whole snapshot.
    name: &'a str,
}

impl Sorter<'_> {
    fn refuse(&self, nature: Nature, value: &Value) -> Refusal {
        let text: String = if value.is_null() && nature != Nature::Scalar {
            String::new()
        } else {
            value.to_string().chars().take(QUOTED_MAX).collect()
        };
        let mut refusal = Refusal::new(self.name, nature, &text);
        if self.name != self.file {
            refusal.file = format!("{}: {}", self.file, self.name);
        }
        refusal
    }

    fn object(&self, mut fields: Map<String, Value>) -> Result<Vec<Piece>, Refusal> {
        if let Some(Value::Object(carried)) = fields.get_mut("snapshot") {
            return self.carried(std::mem::take(carried));
        }
        if self.is_kubernetes(&fields) {
            return self.objects(fields);
        }
        if let Some(answer) = self.keyed(&fields) {
            return self
                .piece(answer, Value::Object(fields))
                .map(|piece| vec![piece]);
        }
        if fields.keys().any(|key| Answer::of_stem(key).is_some()) {
            return self.world(fields);
        }
        if let Some(answer) = bare(&fields) {
            return self.wrapped(answer, Value::Object(fields));
        }
        if let Some(answer) = item_answer(&fields, &self.claim) {
            return self.wrapped_items(answer, vec![Value::Object(fields)]);
        }
        self.foreign(Value::Object(fields))
    }

    /// Whether a document is Kubernetes objects: by its kind, or by its name where it says no kind.
    fn is_kubernetes(&self, fields: &Map<String, Value>) -> bool {
        let has = |field: &str| fields.contains_key(field);
        let is_named = self
            .claim
            .answer
            .is_some_and(|answer| matches!(answer.form, Form::Objects { .. }));
        has("kind") && (has("apiVersion") || has("metadata"))
            || fields
                .get("items")
                .is_some_and(|items| items.is_array() || items.is_null())
            || is_named && fields.get("metadata").is_some_and(Value::is_object)
    }

    /// The world of a report or of a vector.
    fn carried(&self, mut carried: Map<String, Value>) -> Result<Vec<Piece>, Refusal> {
        let is_report = carried.contains_key("sha256");
        match carried.remove("content") {
            Some(Value::Object(answers)) => self.world(answers),
            Some(_) | None if is_report => Err(self.refuse(Nature::WorldLeftOut, &Value::Null)),
            Some(_) | None => self.world(carried),
        }
    }

    /// The members of a whole snapshot, each by what it holds.
    fn world(&self, members: Map<String, Value>) -> Result<Vec<Piece>, Refusal> {
        let mut pieces = Vec::new();
        for (name, value) in members {
            pieces.extend(sort_member(self.file, &name, value)?);
        }
        Ok(pieces)
    }

    /// The answer with this key on top, that of the name first.
    fn keyed(&self, fields: &Map<String, Value>) -> Option<&'static Answer> {
        let fits = |answer: &&Answer| match answer.form {
            Form::List { key, .. } | Form::ListOf { key, .. } => {
                fields.get(key).is_some_and(Value::is_array)
            }
            Form::Single { key, .. } => fields.get(key).is_some_and(Value::is_object),
            Form::Plain { marks, .. } => marks.iter().any(|mark| fields.contains_key(*mark)),
            Form::Objects { .. } => false,
        };
        self.claim
            .answer
            .filter(fits)
            .or_else(|| ANSWERS.iter().find(fits))
    }

    /// A list without its object, as `--query` leaves it.
    fn list(&self, items: Vec<Value>) -> Result<Vec<Piece>, Refusal> {
        let items = flattened(items);
        let Some(first) = items.first() else {
            return match self.claim.answer {
                Some(answer) => self.wrapped_items(answer, Vec::new()),
                None => Err(self.refuse(Nature::EmptyList, &Value::Null)),
            };
        };
        let Some(fields) = first.as_object() else {
            return Err(self.refuse(Nature::ListOfScalars, &Value::Array(items)));
        };
        if self.is_kubernetes(fields) {
            let mut list = Map::new();
            list.insert("apiVersion".to_owned(), json!("v1"));
            list.insert("kind".to_owned(), json!("List"));
            list.insert("items".to_owned(), Value::Array(items));
            return self.objects(list);
        }
        match item_answer(fields, &self.claim) {
            Some(answer) => self.wrapped_items(answer, items),
            None => self.foreign(Value::Array(items)),
        }
    }

    /// Items of an answer under its key.
    fn wrapped_items(
        &self,
        answer: &'static Answer,
        items: Vec<Value>,
    ) -> Result<Vec<Piece>, Refusal> {
        let has = |field: &str| items.iter().any(|item| item.get(field).is_some());
        let items = if answer.stem == "describe-instances" && !has("Instances") && !items.is_empty()
        {
            vec![json!({ "Instances": items })]
        } else {
            items
        };
        self.wrapped(answer, Value::Array(items))
    }

    /// A thing or a list under the key of its answer.
    fn wrapped(&self, answer: &'static Answer, value: Value) -> Result<Vec<Piece>, Refusal> {
        let key = match answer.form {
            Form::List { key, .. } | Form::ListOf { key, .. } | Form::Single { key, .. } => key,
            Form::Objects { .. } => "items",
            Form::Plain { .. } => return self.foreign(value),
        };
        self.piece(answer, json!({ key: value }))
            .map(|piece| vec![piece])
    }

    /// Kubernetes objects, each kind by itself.
    fn objects(&self, fields: Map<String, Value>) -> Result<Vec<Piece>, Refusal> {
        let whole = Value::Object(fields);
        if text(&whole, "kind") == Some("Status") {
            if let Some(answer) = self.claim.answer.filter(|answer| answer.may_be_a_refusal()) {
                return self.piece(answer, whole).map(|piece| vec![piece]);
            }
            let message = text(&whole, "message").unwrap_or_default().to_owned();
            return Err(self.refuse(Nature::Status { message }, &Value::Null));
        }
        let is_list = whole.get("items").is_some();
        let kinds = self.kinds(&whole);
        let known: Vec<_> = kinds
            .keys()
            .filter_map(|stem| Answer::of_stem(stem))
            .collect();
        let left_out = kinds.get("").and_then(|kinds| kinds.first());
        match (known.as_slice(), left_out) {
            ([answer], None) => self.piece(answer, whole).map(|piece| vec![piece]),
            ([], None) => match self.empty_list(&whole) {
                Some(answer) => self.piece(answer, whole).map(|piece| vec![piece]),
                None => Err(self.refuse(Nature::EmptyList, &Value::Null)),
            },
            ([], Some(kind)) if self.claim.answer.is_some() || !is_list => {
                if self.claim.answer.is_none() {
                    return self.foreign(whole);
                }
                let kind = kind.clone();
                Err(self.refuse(Nature::OtherKind { kind }, &Value::Null))
            }
            ([], Some(_)) => self.foreign(whole),
            ([..], left_out) => self.parted(whole, left_out),
        }
    }

    /// The stems of the objects' kinds; under the empty stem the kinds that no answer has.
    fn kinds(&self, whole: &Value) -> BTreeMap<&'static str, Vec<String>> {
        let mut kinds: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        let items = match whole.get("items") {
            Some(items) => items.as_array().map(Vec::as_slice).unwrap_or_default(),
            None => std::slice::from_ref(whole),
        };
        for item in items {
            let stem = self.stem_of(whole, item).unwrap_or_default();
            let kind = text(item, "kind").unwrap_or_default().to_owned();
            kinds.entry(stem).or_default().push(kind);
        }
        kinds
    }

    /// The stem of an object: by its kind, else by that of its list, else by the name of the file.
    fn stem_of(&self, whole: &Value, item: &Value) -> Option<&'static str> {
        let answer = match text(item, "kind") {
            Some(kind) => Answer::of_kind(kind, text(item, "apiVersion")),
            None => list_answer(whole).or(self.claim.answer),
        };
        answer.map(|answer| answer.stem)
    }

    /// The answer of which a list has no object.
    fn empty_list(&self, whole: &Value) -> Option<&'static Answer> {
        let is_objects = |answer: &&Answer| matches!(answer.form, Form::Objects { .. });
        list_answer(whole).or(self.claim.answer.filter(is_objects))
    }

    /// A list of several kinds as one list for each; what no answer has is left out, with a note.
    fn parted(&self, mut whole: Value, left_out: Option<&String>) -> Result<Vec<Piece>, Refusal> {
        let items = whole.get_mut("items").map(Value::take);
        let mut parts: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
        let items = match items {
            Some(Value::Array(items)) => items,
            Some(_) | None => Vec::new(),
        };
        for item in items {
            if let Some(stem) = self.stem_of(&whole, &item) {
                parts.entry(stem).or_default().push(item);
            }
        }
        let more = whole.pointer("/metadata/continue").cloned();
        let mut pieces = Vec::new();
        for (stem, items) in parts {
            let Some(answer) = Answer::of_stem(stem) else {
                continue;
            };
            let mut list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            if let (Some(more), Some(list)) = (&more, list.as_object_mut()) {
                list.insert("metadata".to_owned(), json!({ "continue": more }));
            }
            pieces.push(self.piece(answer, list)?);
        }
        if let (Some(kind), Some(first)) = (left_out, pieces.first_mut()) {
            first.note = Some(format!("objects of kind `{kind}` are left out"));
        }
        Ok(pieces)
    }

    /// What is no answer: refused where the name promises one, kept under its name otherwise.
    fn foreign(&self, value: Value) -> Result<Vec<Piece>, Refusal> {
        if let Some(answer) = self.claim.answer {
            let wanted = match answer.form {
                Form::List { key, .. } | Form::ListOf { key, .. } => format!("list `{key}`"),
                Form::Single { key, .. } => format!("object `{key}`"),
                Form::Objects { .. } => "list `items`".to_owned(),
                Form::Plain { name, .. } => format!("field `{name}`"),
            };
            return Err(self.refuse(Nature::OtherShape { wanted }, &value));
        }
        Ok(vec![Piece {
            file: self.file.to_owned(),
            key: self.claim.key.clone(),
            answer: None,
            id: None,
            value,
            note: None,
        }])
    }

    /// An answer in its own form, with its key in a snapshot.
    fn piece(&self, answer: &'static Answer, value: Value) -> Result<Piece, Refusal> {
        let is_claimed = self.claim.answer == Some(answer);
        let claimed = self.claim.id.clone().filter(|_| is_claimed);
        let id = match answer.form {
            Form::List { .. } | Form::Objects { .. } => claimed,
            Form::ListOf { prefix, .. } => {
                let id = claimed.or_else(|| name::id_in(self.name, prefix));
                let stem = answer.stem;
                let missing = || self.refuse(Nature::WithoutId { stem, prefix }, &Value::Null);
                Some(id.ok_or_else(missing)?)
            }
            Form::Single { key, name } => {
                let own = value.get(key).and_then(|thing| text(thing, name));
                own.map(str::to_owned).or(claimed)
            }
            Form::Plain { name, .. } => text(&value, name).map(str::to_owned).or(claimed),
        };
        let key = if is_claimed {
            match &self.claim.id {
                Some(claimed) => format!("{}.{claimed}", answer.stem),
                None => answer.stem.to_owned(),
            }
        } else {
            match &id {
                Some(id) => format!("{}.{id}", answer.stem),
                None => answer.stem.to_owned(),
            }
        };
        let note = (!is_claimed && self.name != name::STDIN).then(|| {
            format!(
                "holds the answer of `{}` and is taken for that",
                answer.stem
            )
        });
        Ok(Piece {
            file: self.file.to_owned(),
            key,
            answer: Some(answer),
            id,
            value,
            note,
        })
    }
}
