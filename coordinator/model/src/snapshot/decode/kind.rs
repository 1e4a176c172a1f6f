//! Kubernetes objects by their kind: the name of a file says what somebody asked for, `kind` what came.

use serde_json::Value;

use super::Decoder;
use crate::describe::{Answer, Form, Node};
use crate::snapshot::{Consequence, GapKind};

/// End of the kinds of policies of all engines: one that no answer has may drop packets all the same.
const ANY_POLICY: &str = "NetworkPolicy";
/// Where policies are put that no answer has.
pub(super) const FOREIGN_POLICIES: &str = "policies of other engines";

/// Namespace of the VPC CNI.
const SYSTEM: &str = "kube-system";

impl<'a> Decoder<'a> {
    /// The objects of a stem.
    pub(super) fn objects(&self, stem: &str) -> Vec<Node<'a>> {
        self.objects.get(stem).cloned().unwrap_or_default()
    }

    /// Puts every Kubernetes object under the stem of its kind, whatever file it stands in.
    ///
    /// A file that is the error of the API server counts as absent, an object of a kind that no answer has is noted.
    pub(super) fn sort_by_kind(&mut self) {
        let described = self.described;
        for (stem, value) in described.iter() {
            let Some(answer) = Answer::of_stem(stem) else {
                continue;
            };
            if let Form::Objects { .. } = answer.form {
                self.sort_file(answer, Node::file(stem, value));
            }
        }
        self.keep_only_named();
    }

    fn sort_file(&mut self, answer: &'static Answer, file: Node<'a>) {
        if file.value().get("kind").and_then(Value::as_str) == Some("Status") {
            let message = self.plain_text(&file, "message").unwrap_or_default();
            let kind = GapKind::Refused {
                message: message.to_owned(),
            };
            self.note(file.fault(kind), Consequence::NoKubernetes);
            return;
        }
        if file.value().get("items").is_none() {
            self.sort_object(answer, &file, file.clone());
            return;
        }
        let items = self.read(file.list("items"), Consequence::NoKubernetes);
        let items = items.unwrap_or_default();
        if items.is_empty() {
            // `kubectl` prints an empty list as a `List` that names no kind.
            let stem = list_answer(&file).unwrap_or(answer).stem;
            self.objects.entry(stem).or_default();
        }
        for item in items {
            self.sort_object(answer, &file, item);
        }
    }

    /// Puts one object under its kind; one without a kind is what its list is, else what its file is.
    fn sort_object(&mut self, answer: &'static Answer, file: &Node<'a>, object: Node<'a>) {
        let kind = object.value().get("kind").and_then(Value::as_str);
        let version = object.value().get("apiVersion").and_then(Value::as_str);
        let stem = match kind {
            Some(kind) => Answer::of_kind(kind, version),
            None => list_answer(file).or(Some(answer)),
        };
        match (stem, kind) {
            (Some(known), _) => self.objects.entry(known.stem).or_default().push(object),
            (None, Some(kind)) if kind.ends_with(ANY_POLICY) => {
                self.objects
                    .entry(FOREIGN_POLICIES)
                    .or_default()
                    .push(object);
            }
            (None, kind) => {
                let found = kind.unwrap_or_default().to_owned();
                let fault = object.fault(GapKind::UnknownWord { found });
                self.note(fault, Consequence::None);
            }
        }
    }

    /// Keeps of the DaemonSets the one that is the VPC CNI, wherever it stands; without it the answer is absent.
    fn keep_only_named(&mut self) {
        let Some(Form::Objects {
            only: Some(wanted), ..
        }) = Answer::of_stem("aws-node").map(|answer| answer.form)
        else {
            return;
        };
        let Some(all) = self.objects.remove("aws-node") else {
            return;
        };
        let of = |object: &Node<'a>, field: &str| {
            let metadata = object.value().get("metadata");
            metadata.and_then(|metadata| metadata.get(field)?.as_str())
        };
        let is_wanted = |object: &Node<'a>| of(object, "name").is_none_or(|name| name == wanted);
        let mut named: Vec<_> = all.into_iter().filter(is_wanted).collect();
        if named.len() > 1 {
            named.retain(|object| of(object, "namespace") == Some(SYSTEM));
        }
        if !named.is_empty() {
            self.objects.insert("aws-node", named);
        }
    }
}

/// The answer that a list is by its own kind: `PodList` holds pods.
fn list_answer(file: &Node<'_>) -> Option<&'static Answer> {
    let kind = file.value().get("kind")?.as_str()?;
    let version = file.value().get("apiVersion").and_then(Value::as_str);
    Answer::of_kind(kind.strip_suffix("List")?, version)
}
