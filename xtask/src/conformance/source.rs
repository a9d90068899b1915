//! The tests of the workspace as their source has them, module by module from the crates' roots:
//! what is not compiled is not found.

use std::{
    collections::HashSet,
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use syn::{Attribute, Expr, Ident, Item, ItemMod, Lit, Meta, punctuated::Punctuated, visit::Visit};

use super::rule::Place;

/// A test whose comment speaks of rules.
#[derive(Clone, Debug)]
pub(super) struct Test {
    /// As `cargo xtask test --suite` takes it.
    pub(super) suite: String,
    /// With its modules, as the suite prints it.
    pub(super) name: String,
    /// Its file, below the workspace's folder.
    pub(super) file: String,
    /// In how many labs it runs.
    pub(super) runs: &'static str,
    pub(super) comment: String,
}

impl fmt::Display for Test {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.suite, self.name)
    }
}

/// How a rule in a comment begins, as the source's text has it.
const BEGINNING: &str = "/// Conformance ";

/// All tests whose comments speak of rules.
pub(super) fn tests(root: &Path) -> Result<Vec<Test>> {
    let mut suites: Vec<(String, PathBuf)> = ["filter-common", "filter-ctl"]
        .map(|package| (package.to_owned(), PathBuf::from(package).join("src/lib.rs")))
        .to_vec();
    let folder = root.join("tests/tests");
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_stem().filter(|_| path.extension().is_some_and(|end| end == "rs")) {
            let name = name.to_string_lossy();
            suites.push((format!("tests/{name}"), PathBuf::from(format!("tests/tests/{name}.rs"))));
        }
    }
    suites.sort();
    let mut tests = Vec::new();
    for (suite, file) in suites {
        let mut walk = Walk { root, suite, tests: &mut tests };
        walk.file(&file, &mut Vec::new(), true)?;
    }
    Ok(tests)
}

/// Fails unless a place exists.
pub(super) fn check(root: &Path, place: &Place) -> Result<()> {
    let Place { file, symbols } = place;
    let text = fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))?;
    if symbols.is_empty() {
        return Ok(());
    }
    let mut defined = Defined::default();
    defined.visit_file(&syn::parse_file(&text).with_context(|| format!("cannot parse {file}"))?);
    for symbol in symbols {
        ensure!(defined.0.contains(symbol), "{file} defines no `{symbol}`");
    }
    Ok(())
}

/// The names that a file defines.
#[derive(Default)]
struct Defined(HashSet<String>);

impl<'ast> Visit<'ast> for Defined {
    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.0.insert(signature.ident.to_string());
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.0.insert(item.ident.to_string());
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.0.insert(item.ident.to_string());
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.0.insert(item.ident.to_string());
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.0.insert(item.ident.to_string());
        self.0.extend(item.variants.iter().map(|variant| variant.ident.to_string()));
    }
}

struct Walk<'a> {
    root: &'a Path,
    suite: String,
    tests: &'a mut Vec<Test>,
}

impl Walk<'_> {
    /// A file and the files below it; `flat`: its modules lie beside it.
    fn file(&mut self, file: &Path, modules: &mut Vec<String>, flat: bool) -> Result<()> {
        let shown = file.display().to_string();
        let text =
            fs::read_to_string(self.root.join(file)).with_context(|| format!("cannot read {shown}"))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("cannot parse {shown}"))?;
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let below = if flat { folder.clone() } else { file.with_extension("") };
        let before = self.tests.len();
        let mut files = Vec::new();
        self.items(&parsed.items, &shown, modules, &mut files)?;
        let comments = text.lines().filter(|line| line.trim_start().starts_with(BEGINNING)).count();
        let found = self.tests[before..].iter().flat_map(|test| test.comment.lines());
        let found = found.filter(|line| line.trim_start().starts_with(&BEGINNING[4..])).count();
        ensure!(
            comments == found,
            "{shown}: {comments} comments begin with `{BEGINNING}`, {found} above tests"
        );
        for (path, name, given) in files {
            let beside = below.join(path.iter().collect::<PathBuf>());
            let (file, flat) = match given {
                Some(given) => (folder.join(given), true),
                None if self.root.join(beside.join(format!("{name}.rs"))).exists() => {
                    (beside.join(format!("{name}.rs")), false)
                }
                None => (beside.join(&name).join("mod.rs"), true),
            };
            let depth = modules.len();
            modules.extend(path);
            modules.push(name);
            self.file(&file, modules, flat)?;
            modules.truncate(depth);
        }
        Ok(())
    }

    /// The tests among items; modules that are files of their own are noted with the inline modules
    /// that they stand in.
    fn items(
        &mut self,
        items: &[Item],
        file: &str,
        modules: &mut Vec<String>,
        files: &mut Vec<(Vec<String>, String, Option<String>)>,
    ) -> Result<()> {
        let labs = labs(items)?;
        for item in items {
            match item {
                Item::Fn(function) => {
                    let comment = comment(&function.attrs);
                    if !comment.lines().any(|line| line.trim_start().starts_with(&BEGINNING[4..])) {
                        continue;
                    }
                    let name = function.sig.ident.to_string();
                    let lab = labs.iter().find(|(function, _)| *function == name);
                    let runs = match lab {
                        Some((_, runs)) => runs,
                        None if function.attrs.iter().any(|one| one.path().is_ident("test")) => "",
                        None => bail!("{file}: {name} speaks of a rule, but is no test"),
                    };
                    let name =
                        modules.iter().chain([&name]).map(String::as_str).collect::<Vec<_>>().join("::");
                    let suite = self.suite.clone();
                    self.tests.push(Test { suite, name, file: file.to_owned(), runs, comment });
                }
                Item::Mod(ItemMod { ident, content: Some((_, items)), .. }) => {
                    modules.push(ident.to_string());
                    let mut inner = Vec::new();
                    self.items(items, file, modules, &mut inner)?;
                    modules.pop();
                    let outer = ident.to_string();
                    files.extend(
                        inner
                            .into_iter()
                            .map(|(path, name, given)| ([vec![outer.clone()], path].concat(), name, given)),
                    );
                }
                Item::Mod(ItemMod { ident, attrs, .. }) => {
                    files.push((Vec::new(), ident.to_string(), value(attrs, "path").pop()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The functions that `matrix!` runs, and in which labs.
fn labs(items: &[Item]) -> Result<Vec<(String, &'static str)>> {
    let mut labs = Vec::new();
    for item in items {
        let Item::Macro(call) = item else { continue };
        if !call.mac.path.is_ident("matrix") {
            continue;
        }
        let parse = |input: syn::parse::ParseStream<'_>| {
            let which: Ident = input.parse()?;
            input.parse::<syn::Token![:]>()?;
            Ok((which, Punctuated::<Ident, syn::Token![,]>::parse_terminated(input)?))
        };
        let (which, functions) = call.mac.parse_body_with(parse).context("a `matrix!` of another form")?;
        let runs = match which.to_string().as_str() {
            "every" => "every hook, both sides",
            "sides" => "both sides",
            other => bail!("`matrix!` knows no `{other}`"),
        };
        labs.extend(functions.into_iter().map(|function| (function.to_string(), runs)));
    }
    Ok(labs)
}

/// The documentation comment.
fn comment(attributes: &[Attribute]) -> String {
    value(attributes, "doc").join("\n")
}

/// The strings that attributes of a name are set to.
fn value(attributes: &[Attribute], name: &str) -> Vec<String> {
    let text = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident(name) => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    attributes.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn tests_are_found_in_files_inline_modules_and_labs() {
        let tests = tests(workspace::root()).expect("the workspace's own sources");
        for (suite, name, runs) in [
            ("tests/verdicts", "acl::row_25_", ""),
            ("tests/conformance", "rows_25_to_29_", "every hook, both sides"),
            ("filter-ctl", "document::tests::conformance::row_39_", ""),
            ("filter-ctl", "flowlog::format::tests::row_37_", ""),
        ] {
            let found = tests.iter().find(|test| test.suite == suite && test.name.starts_with(name));
            assert_eq!(found.map(|test| test.runs), Some(runs), "{suite} {name}");
        }
    }

    #[test]
    fn a_place_that_is_not_there_is_refused() {
        let place =
            |file: &str, symbol: &str| Place { file: file.to_owned(), symbols: vec![symbol.to_owned()] };
        let file = "filter-ctl/src/compile/effects.rs";
        for symbol in ["network_acl", "SAME_LINK", "NOTHING", "Effect", "SameSubnet"] {
            assert!(check(workspace::root(), &place(file, symbol)).is_ok(), "{symbol}");
        }
        assert!(check(workspace::root(), &place(file, "no_such_thing")).is_err());
        assert!(check(workspace::root(), &place("filter-ctl/src/nowhere.rs", "network_acl")).is_err());
    }
}
