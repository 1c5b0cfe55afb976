//! The files of `src` as modules: which takes names from which, and what functions take.

use std::collections::{BTreeMap, BTreeSet};

/// A path of modules from the crate's root, without `crate`.
type Path = Vec<String>;

/// The modules of the crate by path, each a file.
pub(crate) struct Modules {
    files: BTreeMap<Path, File>,
}

/// What a file imports, for itself or to pass on.
#[derive(Default)]
struct File {
    imports: Vec<Path>,
    /// Names that `pub use` passes on, and where they come from.
    exports: Vec<Path>,
}

impl Modules {
    /// Reads the imports of files, given as the path of each file's module and its code.
    pub(crate) fn read<'a>(code: impl Iterator<Item = (Path, &'a str)> + Clone) -> Self {
        let files = code.clone().map(|(path, _)| (path, File::default()));
        let mut modules = Self {
            files: files.collect(),
        };
        for (module, code) in code {
            let file = modules.file(&module, code);
            modules.files.insert(module, file);
        }
        modules
    }

    fn file(&self, module: &Path, code: &str) -> File {
        let mut file = File::default();
        let mut rest = String::new();
        for statement in code.split_inclusive(';') {
            let start = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "];
            let is_use = |line: &str| start.iter().any(|word| line.starts_with(word));
            // An item before it may have ended without a semicolon.
            let begin = statement.match_indices("use ").map(|(at, _)| at);
            let begin = begin
                .map(|at| statement[..at].rfind('\n').map_or(0, |end| end + 1))
                .find(|at| is_use(&statement[*at..]));
            let Some(begin) = begin else {
                rest.push_str(statement);
                continue;
            };
            rest.push_str(&statement[..begin]);
            let (visibility, tree) = statement[begin..].split_once("use ").expect("a use");
            let mut found = Vec::new();
            expand(&[], tree.trim_end_matches(';'), &mut found);
            let paths = found.iter().filter_map(|path| self.absolute(module, path));
            let list = match visibility {
                "" => &mut file.imports,
                _ => &mut file.exports,
            };
            list.extend(paths);
        }
        // Names that are used by their whole path.
        for used in rest.split("crate::").skip(1) {
            let end = used.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            let path = &used[..end.unwrap_or(used.len())];
            file.imports
                .push(path.split("::").map(str::to_owned).collect());
        }
        file
    }

    /// From the crate's root; nothing if it is another crate's.
    fn absolute(&self, module: &Path, path: &[String]) -> Option<Path> {
        let mut base = module.clone();
        let mut path = path;
        match path.first()?.as_str() {
            "crate" => return Some(path[1..].to_vec()),
            "self" => path = &path[1..],
            "super" => {
                while path.first().is_some_and(|word| word == "super") {
                    base.pop();
                    path = &path[1..];
                }
            }
            child => {
                base.push(child.to_owned());
                if !self.files.contains_key(&base) {
                    return None;
                }
                base.pop();
            }
        }
        base.extend(path.iter().cloned());
        Some(base)
    }

    /// The module that defines what a path names.
    fn definition(&self, path: &[String]) -> Option<Path> {
        let depth = (1..=path.len())
            .rev()
            .find(|depth| self.files.contains_key(&path[..*depth]))?;
        let module = &path[..depth];
        let Some(item) = path.get(depth) else {
            return Some(module.to_vec());
        };
        let exports = &self.files[module].exports;
        let passed_on = exports.iter().find(|export| export.last() == Some(item));
        passed_on.map_or_else(|| Some(module.to_vec()), |export| self.definition(export))
    }

    /// The files of a room that a file takes names from, itself left out.
    fn uses(&self, module: &Path) -> BTreeSet<Path> {
        let imports = self.files[module].imports.iter();
        imports
            .filter_map(|path| self.definition(path))
            // What its parents have defined is there for it.
            .filter(|used| used[0] == module[0] && !module.starts_with(used))
            .collect()
    }

    /// The files that take names from each other, directly or over others.
    pub(crate) fn in_circles(&self) -> Vec<String> {
        let uses = self.files.keys().map(|module| (module, self.uses(module)));
        let uses: BTreeMap<&Path, BTreeSet<Path>> = uses.collect();
        let reaches_itself = |start: &Path| {
            let mut seen = BTreeSet::new();
            let mut next: Vec<&Path> = uses[start].iter().collect();
            while let Some(module) = next.pop() {
                if seen.insert(module) {
                    next.extend(&uses[module]);
                }
            }
            seen.contains(start)
        };
        let found = self.files.keys().filter(|module| reaches_itself(module));
        found.map(|module| module.join("/")).collect()
    }
}

/// Takes `a::{b, c::d}` apart into `a::b` and `a::c::d`. A name for an import does not matter.
fn expand(before: &[String], tree: &str, found: &mut Vec<Path>) {
    let tree = tree.trim();
    let (head, group) = match tree.split_once('{') {
        Some((head, group)) => (head, Some(group.trim_end().trim_end_matches('}'))),
        None => (tree.split(" as ").next().expect("a beginning"), None),
    };
    let mut path = before.to_vec();
    let words = head.split("::").map(str::trim);
    path.extend(
        words
            .filter(|word| !word.is_empty() && *word != "*")
            .map(str::to_owned),
    );
    let Some(group) = group else {
        if path.last().is_some_and(|word| word == "self") && path.len() > 1 {
            path.pop();
        }
        found.push(path);
        return;
    };
    for part in split(group) {
        expand(&path, part, found);
    }
}

/// The parts between commas that no bracket encloses.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    let mut last = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            '>' if last == '-' => {}
            ')' | ']' | '}' | '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
        last = c;
    }
    parts.push(&text[begin..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// The functions that take a tuple, by name.
pub(crate) fn tuple_takers(code: &str) -> Vec<&str> {
    let mut takers = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let header = &code[at + 3..];
        let name_end = header.find(|c: char| !c.is_alphanumeric() && c != '_');
        let name = &header[..name_end.unwrap_or(0)];
        let Some(open) = header.find('(') else {
            continue;
        };
        let (mut depth, mut end) = (0, open);
        for (at, c) in header[open..].char_indices() {
            depth += i32::from(c == '(') - i32::from(c == ')');
            if depth == 0 {
                end = open + at;
                break;
            }
        }
        let parameters = split(&header[open + 1..end]);
        let takes = parameters.iter().any(|parameter| {
            let (pattern, of) = parameter.split_once(':').unwrap_or((parameter, ""));
            let of = of.trim().trim_start_matches('&').trim_start_matches("mut ");
            let inner = of.strip_prefix('(').and_then(|of| of.strip_suffix(')'));
            pattern.trim().starts_with('(') || inner.is_some_and(|inner| split(inner).len() > 1)
        });
        if takes && !name.is_empty() {
            takers.push(name);
        }
    }
    takers
}
