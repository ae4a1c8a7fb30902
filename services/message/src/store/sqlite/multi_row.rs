//! Statements about many rows, which are given as a list of values.

/// Of one statement: for 1, 2, 4, … 128 rows.
const TEXTS: usize = 8;

/// A statement for 1, 2, 4, … 128 rows: few calls of the driver's thread for any number of them, each text prepared once.
/// From JSON, rows cost SQLite more than twice as much.
pub(super) struct MultiRow([String; TEXTS]);

impl MultiRow {
    /// The statement around the list, and one row of it. Parameters have no numbers: they go on from row to row.
    pub(super) fn new(before: &str, row: &str, after: &str) -> Self {
        Self(std::array::from_fn(|power| format!("{before}{}{after}", vec![row; 1 << power].join(", "))))
    }

    /// The statements that take all the rows, and which each takes.
    pub(super) fn calls<'a, T>(&'static self, mut rows: &'a [T]) -> impl Iterator<Item = (&'static str, &'a [T])> {
        std::iter::from_fn(move || {
            let power = (rows.len().checked_ilog2()? as usize).min(TEXTS - 1);
            let (some, rest) = rows.split_at(1 << power);
            rows = rest;
            Some((self.0[power].as_str(), some))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static MULTI_ROW: LazyLock<MultiRow> = LazyLock::new(|| MultiRow::new("<", "?", ">"));

    #[test]
    fn every_row_is_in_one_call() {
        let rows: Vec<_> = (0..300).collect();
        let calls: Vec<_> =
            MULTI_ROW.calls(&rows).map(|(sql, some)| (sql.matches('?').count(), some.to_vec())).collect();
        assert!(calls.iter().all(|(count, some)| *count == some.len()));
        assert_eq!(calls.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [128, 128, 32, 8, 4]);
        assert_eq!(calls.into_iter().flat_map(|(_, some)| some).collect::<Vec<_>>(), rows);
        assert_eq!(MULTI_ROW.calls(&rows[..3]).next(), Some(("<?, ?>", &[0, 1][..])));
        assert_eq!(MULTI_ROW.calls(&rows[..0]).count(), 0);
    }
}
