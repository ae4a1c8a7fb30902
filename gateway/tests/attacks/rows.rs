//! docs/security.md and the suite say the same: every row names tests there are, and counts the inputs there are.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{accounts, bodies, connections, events, framing, packets, polling, rights, tokens};

/// Inputs of the lists, by row. A flood, a race or a time-out is one input more, and counted in the document's table.
fn listed() -> BTreeMap<u32, usize> {
    let forge = tokens::Forge::of_nobody();
    BTreeMap::from([
        (1, bodies::row_1().len()),
        (2, bodies::row_2().len()),
        (3, bodies::row_3().len()),
        (4, bodies::row_4().len()),
        (5, bodies::row_5().len()),
        (6, accounts::row_6().len()),
        (8, accounts::row_8().len()),
        (9, accounts::row_9().len()),
        (10, accounts::row_10().len()),
        (13, tokens::row_13("t").len() + tokens::row_13_queries().len()),
        (14, rights::row_14().len()),
        (15, rights::row_15().len()),
        (16, bodies::row_16().len()),
        (17, bodies::row_17().len()),
        (19, connections::row_19().len()),
        (21, connections::row_21().len()),
        (22, connections::row_22().len()),
        (25, tokens::row_25(&forge).len()),
        (26, tokens::row_26(&forge).len()),
        (27, tokens::row_27(&forge).len()),
        (29, tokens::row_29(&forge).len()),
        (30, tokens::row_30(&forge).len()),
        (31, tokens::row_31(&forge).len()),
        (32, tokens::row_32(&forge).len()),
        (34, tokens::row_34().len()),
        (37, packets::row_37().len()),
        (38, packets::row_38().len()),
        (40, packets::row_40().len()),
        (42, packets::row_42().len()),
        (43, packets::row_43().len()),
        (45, packets::row_45().len()),
        (46, packets::row_46().len() + packets::row_46_malformed().len()),
        (47, packets::row_47().len()),
        (51, polling::row_51().len() + polling::row_51_upgrades().len()),
        (53, framing::row_53().len()),
        (54, framing::row_54().len()),
        (55, framing::row_55().len()),
        (56, framing::row_56().len()),
        (59, framing::row_59().len()),
        (62, events::row_62().len()),
        (63, events::row_63().len()),
        (64, events::row_64().len()),
        (65, rights::row_65().len()),
        (66, events::row_66().len()),
        (70, events::row_70().len() + events::row_70_frames().len()),
    ])
}

/// A line of the document's table.
struct Line {
    row: u32,
    inputs: usize,
    /// File below the repository, and a function in it.
    tests: Vec<(String, String)>,
}

/// `| 43 | what | inputs | path: test, test; path: test |`
fn line(text: &str) -> Option<Line> {
    let cells: Vec<&str> = text.strip_prefix("| ")?.trim_end_matches(" |").split(" | ").collect();
    let [row, _, inputs, places] = cells[..] else { return None };
    let (row, inputs) = (row.parse().ok()?, inputs.parse().ok()?);
    let place = |place: &str| {
        let (file, tests) = place.trim().split_once(": ").expect("path: test");
        let tests: Vec<_> = tests.split(", ").map(|test| (file.to_owned(), test.to_owned())).collect();
        tests
    };
    let tests = places.replace('`', "").split(';').flat_map(place).collect();
    Some(Line { row, inputs, tests })
}

/// Rows of the specification's list; the missing numbers are missing there, too.
fn rows() -> Vec<u32> {
    let left_out = [18, 20, 28, 36, 41, 44, 48, 49, 50, 57, 60, 61, 67, 80, 86];
    (1..=88).filter(|row| !left_out.contains(row)).collect()
}

#[test]
fn the_document_and_the_suite_say_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = fs::read_to_string(root.join("docs/security.md")).expect("docs/security.md");
    let lines: Vec<Line> = document.lines().filter_map(line).collect();
    assert_eq!(lines.iter().map(|line| line.row).collect::<Vec<_>>(), rows(), "a line for every row, in order");
    let listed = listed();
    for Line { row, inputs, tests } in &lines {
        let in_lists = listed.get(row).copied().unwrap_or_default();
        assert!(
            *inputs >= 1 && (in_lists == 0 || *inputs == in_lists),
            "row {row}: {inputs}, but the lists: {listed:?}"
        );
        for (file, test) in tests {
            let source =
                fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("row {row}: {file}: {error}"));
            assert!(source.contains(&format!("fn {test}(")), "row {row}: no {test} in {file}");
            assert!(test.starts_with("row_"), "row {row}: {test} is not named after its row");
        }
    }
    let total: usize = lines.iter().map(|line| line.inputs).sum();
    println!("{total} hostile inputs in {} rows", lines.len());
    assert!(document.contains(&format!("{total} hostile inputs")), "the suite has {total} hostile inputs");
    assert!(total >= 150);
}
