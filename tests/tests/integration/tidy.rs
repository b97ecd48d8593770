//! Style is a test: every Rust file of the workspace, held to the house rules.

mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use source::{Kind, Token, code, is, item_end, outside_tests, tokens};

const LINE_CHARS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const CORE_DEPENDENCIES: [&str; 5] = ["crc", "heapless", "siphasher", "xxhash-rust", "zerocopy"];

/// One file, its place relative to the workspace root, and whether only tests compile it.
struct File {
    path: String,
    test: bool,
    text: String,
    tokens: Vec<Token>,
}

impl File {
    fn new(path: &str, test: bool, text: &str) -> File {
        File { path: path.into(), test, text: text.into(), tokens: tokens(text) }
    }

    /// The tokens that ship: no comments, nothing behind `#[cfg(test)]`.
    fn shipped(&self) -> Vec<Token> {
        if self.test { Vec::new() } else { outside_tests(&code(&self.tokens)) }
    }
}

/// A rule: the lines that break it.
type Rule = fn(&File) -> Vec<usize>;

const RULES: [(&str, Rule); 9] = [
    ("a line has at most 100 characters", long_lines),
    ("a file has at most 500 lines", long_files),
    ("a function has at most 70 lines", long_functions),
    ("a module is named for what it holds", vague_modules),
    ("unfinished work does not stay in the code", unfinished),
    ("std and alloc stay out of core", std_in_core),
    ("unsafe lives in runtime/src/sys, and in the bare ring of the benchmarks", unsafe_elsewhere),
    ("no unwrap outside tests", unwraps),
    ("no sleep in tests", sleeps),
];

fn long_lines(file: &File) -> Vec<usize> {
    let long = |line: &str| line.chars().count() > LINE_CHARS_MAX;
    file.text.lines().zip(1..).filter(|(line, _)| long(line)).map(|(_, number)| number).collect()
}

fn long_files(file: &File) -> Vec<usize> {
    if file.text.lines().count() > FILE_LINES_MAX { vec![FILE_LINES_MAX + 1] } else { vec![] }
}

fn long_functions(file: &File) -> Vec<usize> {
    let code = code(&file.tokens);
    let mut lines = Vec::new();
    for at in 0..code.len() {
        let named = code.get(at + 1).is_some_and(|token| token.kind == Kind::Word);
        if is(&code[at..], &["fn"]) && named {
            let last = code[item_end(&code, at) - 1].line;
            if last - code[at].line + 1 > FUNCTION_LINES_MAX {
                lines.push(code[at].line);
            }
        }
    }
    lines
}

fn vague_modules(file: &File) -> Vec<usize> {
    let vague = |name: &str| matches!(name, "utils" | "common" | "helpers");
    let code = code(&file.tokens);
    let pairs = code.windows(2).filter(|pair| is(pair, &["mod"]) && vague(&pair[1].text));
    let mut lines: Vec<usize> = pairs.map(|pair| pair[0].line).collect();
    if Path::new(&file.path).with_extension("").iter().any(|part| part.to_str().is_some_and(vague))
    {
        lines.push(1);
    }
    lines
}

fn unfinished(file: &File) -> Vec<usize> {
    let flagged = |word: &str| word == concat!("FIX", "ME") || word == concat!("TO", "DO");
    let words = |text: &str| text.split(|c: char| !c.is_alphanumeric()).any(flagged);
    let noted = file.tokens.iter().filter(|token| words(&token.text)).map(|token| token.line);
    let code = code(&file.tokens);
    let called = code.windows(2).filter(|pair| is(pair, &["dbg", "!"]) || is(pair, &["todo", "!"]));
    noted.chain(called.map(|pair| pair[0].line)).collect()
}

fn std_in_core(file: &File) -> Vec<usize> {
    if !file.path.starts_with("core/src/") {
        return Vec::new();
    }
    let shipped = file.shipped();
    let name = |token: &Token| matches!(token.text.as_str(), "std" | "alloc");
    let used = |at: usize| {
        name(&shipped[at]) && is(&shipped[at + 1..], &[":", ":"])
            || is(&shipped[at..], &["extern", "crate"]) && shipped.get(at + 2).is_some_and(name)
    };
    (0..shipped.len()).filter(|at| used(*at)).map(|at| shipped[at].line).collect()
}

fn unsafe_elsewhere(file: &File) -> Vec<usize> {
    let code = code(&file.tokens);
    let allocator = file.test || file.path.starts_with("benches/");
    let counts = allocator && code.windows(3).any(|part| is(part, &["GlobalAlloc", "for"]));
    let may = file.path.starts_with("runtime/src/sys/") || file.path == "benches/bare/ring.rs";
    if may || counts {
        return Vec::new();
    }
    let found = code.iter().filter(|token| token.kind == Kind::Word && token.text == "unsafe");
    found.map(|token| token.line).collect()
}

fn unwraps(file: &File) -> Vec<usize> {
    let shipped = file.shipped();
    let found = shipped.windows(4).filter(|part| is(part, &[".", "unwrap", "(", ")"]));
    found.map(|part| part[1].line).collect()
}

fn sleeps(file: &File) -> Vec<usize> {
    let code = code(&file.tokens);
    let tested = if file.test || file.path.starts_with("tests/") {
        code
    } else {
        let shipped = outside_tests(&code);
        code.into_iter().filter(|token| !shipped.contains(token)).collect()
    };
    let names = ["sleep", "sleep_ms", "sleep_until"];
    let sleep = |part: &&[Token]| names.iter().any(|name| is(part, &[name, "("]));
    tested.windows(2).filter(sleep).map(|part| part[0].line).collect()
}

/// The files that Cargo compiles, each with whether only tests see it, by following `mod`
/// from every root. The second list names files that no `mod` names.
fn modules(root: &Path, paths: &[PathBuf]) -> (BTreeMap<PathBuf, bool>, Vec<PathBuf>) {
    let mut reached = BTreeMap::new();
    for path in paths {
        if let Some(test) = root_kind(root, path) {
            follow(path, test, true, &mut reached);
        }
    }
    let unlisted = paths.iter().filter(|path| !reached.contains_key(*path)).cloned().collect();
    (reached, unlisted)
}

/// Whether `path` is the root of a crate, and then whether it is one of tests. Targets that a
/// manifest places elsewhere are found by its `path = ".."` lines.
fn root_kind(root: &Path, path: &Path) -> Option<bool> {
    let inside = path.strip_prefix(root).ok()?;
    let parts: Vec<&str> = inside.iter().filter_map(|part| part.to_str()).collect();
    match parts.as_slice() {
        [_, "src", "lib.rs" | "main.rs"] | [_, "src", "bin", _] | [_, "build.rs"] => Some(false),
        [_, "src", "bin", _, "main.rs"] | [_, "benches" | "examples", _] => Some(false),
        [_, "benches" | "examples", _, "main.rs"] => Some(false),
        [_, "tests", _] | [_, "tests", _, "main.rs"] => Some(true),
        [first, rest @ ..] => {
            let manifest = fs::read_to_string(root.join(first).join("Cargo.toml")).ok()?;
            manifest.contains(&format!("path = \"{}\"", rest.join("/"))).then_some(false)
        }
        [] => None,
    }
}

fn follow(path: &Path, test: bool, is_root: bool, reached: &mut BTreeMap<PathBuf, bool>) {
    let known = reached.get(path).copied();
    let Ok(text) = fs::read_to_string(path) else { return };
    if known.is_some_and(|known| !known || test) {
        return;
    }
    reached.insert(path.into(), test);
    let (stem, folder) = (path.file_stem().unwrap(), path.parent().unwrap());
    let own = is_root || stem == "mod";
    let folder = if own { folder.to_path_buf() } else { folder.join(stem) };
    let all = code(&tokens(&text));
    let shipped = outside_tests(&all);
    for part in all.windows(3).filter(|part| is(part, &["mod"]) && part[2].text == ";") {
        let hidden = !shipped.windows(3).any(|other| other == part);
        let name = &part[1].text;
        follow(&folder.join(format!("{name}.rs")), test || hidden, false, reached);
        follow(&folder.join(name).join("mod.rs"), test || hidden, false, reached);
    }
}

/// Every Rust file below `folder`, build results and hidden folders left out, in order.
fn rust_files(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(|entry| entry.path());
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_str().unwrap();
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.starts_with('.') {
                rust_files(&path, out);
            }
        } else if name.ends_with(".rs") {
            out.push(path);
        }
    }
}

/// The names in the section `[dependencies]` of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
            names.extend(line.strip_prefix("[dependencies.").map(|rest| rest.replace(']', "")));
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            names.push(line.split(['.', '=', ' ']).next().unwrap().into());
        }
    }
    names.sort();
    names
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

#[test]
fn every_file_keeps_the_style() {
    let root = workspace();
    let mut paths = Vec::new();
    rust_files(&root, &mut paths);
    assert!(paths.len() > 5, "the walk found the workspace");
    let (reached, unlisted) = modules(&root, &paths);
    let mut found: Vec<String> =
        unlisted.iter().map(|path| format!("{}: no `mod` names it", path.display())).collect();
    for (path, test) in &reached {
        let shown = path.strip_prefix(&root).unwrap().to_str().unwrap();
        let file = File::new(shown, *test, &fs::read_to_string(path).unwrap());
        for (text, rule) in RULES {
            found.extend(rule(&file).iter().map(|line| format!("{shown}:{line}: {text}")));
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn core_depends_on_five_crates() {
    let manifest = fs::read_to_string(workspace().join("core/Cargo.toml")).unwrap();
    assert_eq!(dependencies(&manifest), CORE_DEPENDENCIES);
    let other =
        "[dependencies]\n# no\na.workspace = true\nb = \"1\"\n[dev-dependencies]\nc = \"1\"";
    assert_eq!(dependencies(&format!("{other}\n[dependencies.d]\nx = 1")), ["a", "b", "d"]);
}

/// The lines that `rule` finds in `text` as a shipped file at `path`.
fn lines(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    rule(&File::new(path, false, text))
}

#[test]
fn long_lines_files_and_functions_are_found() {
    assert_eq!(lines(long_lines, "a.rs", &format!("x\n//{}", "é".repeat(99))), [2]);
    assert!(lines(long_lines, "a.rs", &"é".repeat(100)).is_empty());
    assert_eq!(lines(long_files, "a.rs", &"\n".repeat(501)), [501]);
    assert!(lines(long_files, "a.rs", &"\n".repeat(500)).is_empty());
    let function = |blank: usize| format!("\nfn f() {{\"{{\";{}}}", "\n".repeat(blank));
    assert_eq!(lines(long_functions, "a.rs", &function(70)), [2]);
    assert!(lines(long_functions, "a.rs", &function(69)).is_empty());
    let declared = format!("trait T {{ fn f(x: [u8; 2]); }}\ntype F = fn(u8);{}", "\n".repeat(80));
    assert!(lines(long_functions, "a.rs", &declared).is_empty());
}

#[test]
fn vague_names_and_unfinished_work_are_found() {
    assert_eq!(lines(vague_modules, "a.rs", "use x;\nmod utils;"), [2]);
    assert_eq!(lines(vague_modules, "core/src/common/a.rs", "mod a;"), [1]);
    assert_eq!(lines(vague_modules, "core/src/helpers.rs", "mod a;"), [1]);
    assert!(lines(vague_modules, "a.rs", "mod commons;\nlet common = \"mod utils\";").is_empty());
    let note = |word: &str| lines(unfinished, "a.rs", &format!("\n/// x\n// {word}: y"));
    assert_eq!((note(concat!("FIX", "ME")), note(concat!("TO", "DO"))), (vec![3], vec![3]));
    assert!(note("method").is_empty());
    assert_eq!(lines(unfinished, "a.rs", "dbg!(x);\ntodo!()"), [1, 2]);
    assert!(lines(unfinished, "a.rs", "\"dbg!\"; // dbg!").is_empty());
}

#[test]
fn foreign_words_in_shipped_code_are_found() {
    let text = "use std::fmt;\n#[cfg(test)]\nmod tests { use std::vec::Vec; }\nextern crate alloc;";
    assert_eq!(lines(std_in_core, "core/src/a.rs", text), [1, 4]);
    assert!(lines(std_in_core, "runtime/src/a.rs", text).is_empty());
    assert!(std_in_core(&File::new("core/src/a/tests.rs", true, text)).is_empty());
    let text = "#![forbid(unsafe_code)]\n// unsafe\nunsafe fn f() {}";
    assert_eq!(lines(unsafe_elsewhere, "runtime/src/a.rs", text), [3]);
    assert!(lines(unsafe_elsewhere, "runtime/src/sys/a.rs", text).is_empty());
    assert!(lines(unsafe_elsewhere, "benches/bare/ring.rs", text).is_empty());
    assert_eq!(lines(unsafe_elsewhere, "benches/bare/store.rs", text), [3]);
    let text = "unsafe impl GlobalAlloc for Counting {}";
    assert_eq!(lines(unsafe_elsewhere, "core/src/a.rs", text), [1]);
    assert!(unsafe_elsewhere(&File::new("core/tests/a.rs", true, text)).is_empty());
    let text =
        "fn f() { x.unwrap_or(1).unwrap() }\n#[cfg(test)] mod tests { fn g() { y.unwrap() } }";
    assert_eq!(lines(unwraps, "core/src/a.rs", text), [1]);
    assert!(unwraps(&File::new("core/tests/a.rs", true, text)).is_empty());
}

#[test]
fn sleeps_are_found_in_tests_only() {
    let text = "fn f() { sleep(x) }\n#[cfg(test)]\nmod tests { fn g() { thread::sleep(y) } }";
    assert_eq!(lines(sleeps, "core/src/a.rs", text), [3]);
    assert_eq!(lines(sleeps, "tests/src/a.rs", text), [1, 3]);
}

#[test]
fn a_file_that_no_mod_names_is_found() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tidy-unlisted");
    let source = root.join("a/src");
    fs::create_dir_all(source.join("b")).unwrap();
    fs::write(source.join("lib.rs"), "mod b;\n#[cfg(test)]\nmod tests;\n// mod c;").unwrap();
    fs::write(source.join("b/mod.rs"), "mod d;").unwrap();
    for name in ["c.rs", "tests.rs", "b/d.rs"] {
        fs::write(source.join(name), "").unwrap();
    }
    let mut paths = Vec::new();
    rust_files(&root, &mut paths);
    let (reached, unlisted) = modules(&root, &paths);
    assert_eq!(unlisted, [source.join("c.rs")]);
    assert_eq!(reached.get(&source.join("tests.rs")), Some(&true));
    assert_eq!(reached.get(&source.join("b/d.rs")), Some(&false));
}
