//! Files import each other in no circle, so that each can be read after those that it stands on.
//!
//! What counts is where a name is defined: a `pub use` is looked through. A file and the folder of its name are one module, and
//! what they share between themselves is no import; neither is what tests take.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests fail by panicking, and the kinds of items grow with the language"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, iter};

use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, ItemMod, ItemUse, UseTree, Visibility};

/// Packages whose files are looked at, from the root of the workspace.
const PACKAGES: [&str; 10] = [
    "agent",
    "coordinator",
    "coordinator/aws",
    "coordinator/kube",
    "coordinator/model",
    "coordinator/verify",
    "proto",
    "tests",
    "tests/lab",
    "tests/start",
];

/// A module by the names from the root of its crate on.
type Module = Vec<String>;

/// A name that a file takes from elsewhere: the module that it stands in, and the whole path.
type Import = (Module, Vec<String>);

/// What one file says.
#[derive(Default)]
struct Parsed {
    imports: Vec<Import>,
    /// What each name stands for that a `use` brings into a module of this file.
    uses: BTreeMap<(Module, String), Vec<String>>,
    /// Modules within the file.
    inner: BTreeSet<Module>,
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .meta
                .require_list()
                .is_ok_and(|list| list.tokens.to_string().contains("test"))
    })
}

struct Reader {
    module: Module,
    parsed: Parsed,
}

impl Reader {
    /// All paths of a `use`, with the names that they get.
    fn leaves(tree: &UseTree, before: &[String]) -> Vec<(String, Vec<String>)> {
        let with = |name: String| before.iter().cloned().chain(iter::once(name)).collect();
        match tree {
            UseTree::Path(path) => {
                Self::leaves(&path.tree, &Vec::from_iter(with(path.ident.to_string())))
            }
            UseTree::Name(name) if name.ident == "self" => {
                vec![(before.last().cloned().unwrap_or_default(), before.to_vec())]
            }
            UseTree::Name(name) => vec![(name.ident.to_string(), with(name.ident.to_string()))],
            UseTree::Rename(name) => vec![(name.rename.to_string(), with(name.ident.to_string()))],
            UseTree::Glob(_) => vec![("*".to_owned(), before.to_vec())],
            UseTree::Group(group) => group
                .items
                .iter()
                .flat_map(|tree| Self::leaves(tree, before))
                .collect(),
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !is_of_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            self.parsed.inner.insert(self.module.clone());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // What is only handed on is somebody else's import.
        let is_handed_on = !matches!(item.vis, Visibility::Inherited);
        for (name, path) in Self::leaves(&item.tree, &[]) {
            if !is_handed_on {
                self.parsed
                    .imports
                    .push((self.module.clone(), path.clone()));
            }
            self.parsed.uses.insert((self.module.clone(), name), path);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if names.len() > 1 {
            self.parsed.imports.push((self.module.clone(), names));
        }
        visit::visit_path(self, path);
    }
}

/// The files of one crate.
struct Crate {
    files: BTreeMap<Module, Parsed>,
    /// The modules within files, and in which file each is.
    inner: BTreeMap<Module, Module>,
}

impl Crate {
    fn read(root: &Path, top: &str) -> Self {
        let mut files = BTreeMap::new();
        let mut waiting: Vec<(PathBuf, Module)> = vec![(root.join(top), Vec::new())];
        while let Some((path, module)) = waiting.pop() {
            let text = fs::read_to_string(&path).unwrap();
            let file: File = syn::parse_file(&text).unwrap();
            let folder = if module.is_empty() {
                root.to_owned()
            } else {
                path.with_extension("")
            };
            for item in &file.items {
                let Item::Mod(item) = item else { continue };
                if item.content.is_none() && !is_of_tests(&item.attrs) {
                    let name = item.ident.to_string();
                    let child = [
                        folder.join(format!("{name}.rs")),
                        folder.join(&name).join("mod.rs"),
                    ];
                    // What is generated elsewhere is nobody's file.
                    if let Some(child) = child.into_iter().find(|path| path.is_file()) {
                        let inner = module.iter().cloned().chain([name]).collect();
                        waiting.push((child, inner));
                    }
                }
            }
            let mut reader = Reader {
                module: module.clone(),
                parsed: Parsed::default(),
            };
            reader.visit_file(&file);
            files.insert(module, reader.parsed);
        }
        let inner = files.iter().flat_map(|(file, parsed)| {
            let modules = parsed.inner.iter().cloned();
            modules
                .map(|module| (module, file.clone()))
                .collect::<Vec<_>>()
        });
        let inner = inner.collect();
        Self { files, inner }
    }

    fn is_module(&self, module: &Module) -> bool {
        self.files.contains_key(module) || self.inner.contains_key(module)
    }

    fn file_of<'a>(&'a self, module: &'a Module) -> &'a Module {
        self.inner.get(module).unwrap_or(module)
    }

    /// What a name stands for in a module, by its `use`s.
    fn used(&self, module: &Module, name: &str) -> Option<&Vec<String>> {
        let file = self.files.get(self.file_of(module))?;
        file.uses.get(&(module.clone(), name.to_owned()))
    }

    /// The module in which what a path names is defined, as far as it is of this crate.
    fn defined(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        let (first, mut rest) = path.split_first()?;
        let mut at = from.clone();
        match first.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => {
                at.pop();
                while let Some((next, after)) =
                    rest.split_first().filter(|(next, _)| *next == "super")
                {
                    debug_assert_eq!(next, "super");
                    at.pop();
                    rest = after;
                }
            }
            name => {
                let child: Module = from.iter().cloned().chain([name.to_owned()]).collect();
                if self.is_module(&child) {
                    at = child;
                } else {
                    let used = self
                        .used(from, name)
                        .filter(|used| used.as_slice() != path)?;
                    let whole: Vec<String> = used.iter().chain(rest).cloned().collect();
                    return self.defined(from, &whole, depth.checked_sub(1)?);
                }
            }
        }
        while let Some((name, after)) = rest.split_first() {
            let child: Module = at.iter().cloned().chain([name.clone()]).collect();
            if self.is_module(&child) {
                (at, rest) = (child, after);
                continue;
            }
            return match self.used(&at, name) {
                Some(used) => {
                    let whole: Vec<String> = used.iter().chain(after).cloned().collect();
                    self.defined(&at, &whole, depth.checked_sub(1)?)
                }
                None => Some(at),
            };
        }
        Some(at)
    }

    /// The files that each file takes something from, outside of its own module.
    fn graph(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let is_one =
            |one: &Module, other: &Module| one.starts_with(other) || other.starts_with(one);
        self.files
            .iter()
            .map(|(file, parsed)| {
                let defined = parsed
                    .imports
                    .iter()
                    .filter_map(|(module, path)| self.defined(module, path, 16))
                    .map(|module| self.file_of(&module).clone());
                (file, defined.filter(|other| !is_one(file, other)).collect())
            })
            .collect()
    }

    /// The groups of files that reach each other.
    fn circles(&self) -> BTreeSet<Vec<String>> {
        let graph = self.graph();
        let reached = |from: &Module| {
            let (mut seen, mut waiting) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(file) = waiting.pop() {
                for next in graph.get(&file).into_iter().flatten() {
                    if seen.insert(next.clone()) {
                        waiting.push(next.clone());
                    }
                }
            }
            seen
        };
        let all: BTreeMap<&Module, BTreeSet<Module>> =
            graph.keys().map(|file| (*file, reached(file))).collect();
        let of = |file: &Module| {
            let own = &all[file];
            let group = own
                .iter()
                .filter(|other| all.get(other).is_some_and(|back| back.contains(file)));
            group.map(|module| module.join("::")).collect::<Vec<_>>()
        };
        all.keys()
            .map(|file| of(file))
            .filter(|group| !group.is_empty())
            .collect()
    }

    /// The imports within a circle, one in a line.
    fn ties(&self, circle: &[String]) -> String {
        let graph = self.graph();
        let name = |module: &Module| module.join("::");
        let lines = graph.iter().flat_map(|(file, others)| {
            others
                .iter()
                .filter(|other| circle.contains(&name(file)) && circle.contains(&name(other)))
                .map(|other| format!("  {} -> {}\n", name(file), name(other)))
                .collect::<Vec<_>>()
        });
        lines.collect()
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = String::new();
    let mut files = 0;
    for package in PACKAGES {
        let root = workspace.join(package).join("src");
        for top in ["lib.rs", "main.rs"] {
            if !root.join(top).is_file() {
                continue;
            }
            let read = Crate::read(&root, top);
            files += read.files.len();
            for circle in read.circles() {
                found += &format!("{package}: {} files\n{}", circle.len(), read.ties(&circle));
            }
        }
    }
    assert!(files > 400, "only {files} files were found");
    assert!(found.is_empty(), "{found}");
}

#[test]
fn a_circle_is_found_through_what_is_handed_on() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "lib.rs",
        "mod a; mod b; mod c; pub use a::A; #[cfg(test)] mod tests { use crate::c::C; }",
    );
    write(
        "a.rs",
        "pub struct A; fn f() -> Option<crate::b::B> { None }",
    );
    write("b.rs", "use crate::A; pub struct B(A);");
    write("c.rs", "use crate::{A, b::B}; pub struct C(A, B);");
    let read = Crate::read(folder.path(), "lib.rs");
    assert_eq!(
        read.circles(),
        BTreeSet::from([vec!["a".to_owned(), "b".to_owned()]])
    );
    write(
        "a.rs",
        "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }",
    );
    assert!(Crate::read(folder.path(), "lib.rs").circles().is_empty());
}
