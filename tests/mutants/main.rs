//! The mutants stay true to the sources, and their table to both: cheap checks, so that what `tests/mutants/run` needs
//! does not rot between its runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// How many mutants continuous integration takes (`run --few`).
const RISKIEST: usize = 5;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every patch by its name.
fn patches() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("tests/mutants")).expect("a folder") {
        let path: PathBuf = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "patch") {
            let name = path.file_stem().expect("a name").to_string_lossy();
            found.insert(name.into_owned(), read(&path));
        }
    }
    found
}

/// A row of the table in README.md.
struct Row {
    name: String,
    rule: String,
    tests: Vec<String>,
    /// Stands under the heading of what others shipped.
    is_known_bug: bool,
}

fn rows() -> Vec<Row> {
    let readme = read("tests/mutants/README.md");
    let mut rows = Vec::new();
    let mut is_known_bug = false;
    for line in readme.lines() {
        if let Some(heading) = line.strip_prefix("# ") {
            is_known_bug = heading.contains("others shipped");
        }
        let Some(cells) = line.strip_prefix("| `") else {
            continue;
        };
        let cells: Vec<&str> = cells.split(" | ").collect();
        let &[name, rule, tests, _seeds] = cells.as_slice() else {
            panic!("four columns: {line}")
        };
        rows.push(Row {
            name: name.trim_end_matches('`').to_owned(),
            rule: rule.to_owned(),
            tests: quoted(tests).map(str::to_owned).collect(),
            is_known_bug,
        });
    }
    rows
}

/// What stands between back ticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// One place of a patch: the lines that it looks for, and those that it puts there.
struct Hunk {
    file: String,
    old: String,
    new: String,
}

/// Whether a line belongs to a file's heading, as `diff` or `git diff` write it.
fn is_heading(line: &str) -> bool {
    ["diff ", "index ", "--- "]
        .iter()
        .any(|word| line.starts_with(word))
}

fn hunks(patch: &str) -> Vec<Hunk> {
    let mut hunks: Vec<Hunk> = Vec::new();
    let mut file = "";
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            file = path;
        } else if line.starts_with("@@ ") {
            let (file, old, new) = (file.to_owned(), String::new(), String::new());
            hunks.push(Hunk { file, old, new });
        } else if let Some(hunk) = hunks.last_mut().filter(|_| !is_heading(line)) {
            let (sort, text) = line.split_at_checked(1).unwrap_or((" ", ""));
            for (side, other) in [(&mut hunk.old, "+"), (&mut hunk.new, "-")] {
                if sort != other {
                    side.push_str(text);
                    side.push('\n');
                }
            }
        }
    }
    hunks
}

#[test]
fn every_patch_applies_in_one_place() {
    let patches = patches();
    assert!(patches.len() >= 60, "only {}", patches.len());
    for (name, patch) in patches {
        let hunks = hunks(&patch);
        assert!(!hunks.is_empty(), "{name} changes nothing");
        for Hunk { file, old, new } in hunks {
            assert!(file.starts_with("src/"), "{name} changes {file}");
            assert_ne!(old, new, "{name}");
            // A line behind the last one makes the text begin a line.
            let source = format!("\n{}", read(&file));
            let found = source.matches(&format!("\n{old}")).count();
            assert_eq!(
                found, 1,
                "{name}: {file} has these lines {found} times: write the patch anew\n{old}"
            );
        }
    }
}

#[test]
fn the_table_names_every_patch_and_says_what_it_says() {
    let patches = patches();
    let rows = rows();
    let named: Vec<&String> = rows.iter().map(|row| &row.name).collect();
    let unique: BTreeSet<&String> = named.iter().copied().collect();
    assert_eq!(named.len(), unique.len(), "a row stands twice");
    assert!(unique.into_iter().eq(patches.keys()), "{named:?}");
    for row in rows {
        let lines = patches[&row.name].lines();
        let head: Vec<&str> = lines.take_while(|line| !is_heading(line)).collect();
        let rule = head.join(" ");
        assert_eq!(rule, row.rule, "{}", row.name);
    }
}

#[test]
fn the_tests_that_the_table_names_exist() {
    for Row { name, tests, .. } in rows() {
        assert!(!tests.is_empty(), "{name} is caught by nothing");
        for place in tests {
            let (path, function) = place.split_once("::").expect("path::function");
            let text = read(path);
            let before = text.split(&format!("fn {function}(")).next();
            let before = before.filter(|before| before.len() < text.len());
            let before = before.unwrap_or_else(|| panic!("{name}: there is no {place}"));
            let attributes: Vec<&str> = before.lines().rev().take(4).collect();
            let is_attribute = |line: &&str| line.contains("test]") || line.contains("::test(");
            assert!(
                attributes.iter().any(is_attribute) || before.contains("proptest!"),
                "{name}: {place} is no test"
            );
        }
    }
}

#[test]
fn every_known_bug_has_a_scenario_of_its_own_that_catches_it() {
    let rows = rows();
    let known: Vec<&Row> = rows.iter().filter(|row| row.is_known_bug).collect();
    assert!(known.len() >= 24, "only {}", known.len());
    for Row { name, tests, .. } in known {
        let is_its_own = |place: &&String| {
            place.starts_with("tests/election/known_bugs/") && place.contains(&format!("::{name}_"))
        };
        assert!(tests.iter().any(|place| is_its_own(&place)), "{name}");
    }
    // And the other way round.
    let folder = root().join("tests/election/known_bugs");
    for entry in fs::read_dir(folder).expect("a folder") {
        let text = read(entry.expect("an entry").path());
        for function in text.split("\n#[test]\nfn ").skip(1) {
            let function = function.split('(').next().unwrap_or_default();
            let is_of = |row: &&Row| function.starts_with(&format!("{}_", row.name));
            assert!(
                rows.iter().any(|row| row.is_known_bug && is_of(&row)),
                "{function} names no issue of the table"
            );
        }
    }
}

#[test]
fn the_few_for_continuous_integration_exist() {
    let runner = read("tests/mutants/run");
    let few = runner
        .split("few=(")
        .nth(1)
        .and_then(|rest| rest.split(')').next());
    let few: Vec<&str> = few.unwrap_or_default().split_whitespace().collect();
    assert_eq!(few.len(), RISKIEST);
    let patches = patches();
    assert!(
        few.iter().all(|name| patches.contains_key(*name)),
        "{few:?}"
    );
}
