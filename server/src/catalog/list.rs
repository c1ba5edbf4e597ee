//! How a listing rolls keys up at a delimiter and where its next page begins: arithmetic on keys, no database.
//!
//! Order is that of the keys' UTF-8 bytes. A rolled-up prefix costs one row and one seek behind all that it covers,
//! so a thousand prefixes over a million keys are a thousand seeks, never a scan.
//!
//! The marker, as S3 has it: only keys behind it count. A marker that is itself a rolled-up prefix was the last entry
//! of the page before, so all under it is behind us; a marker within one lists that prefix again if a key under it
//! is still ahead.

use std::ops::ControlFlow;

use super::{ListQuery, Listed, UploadMarker, UploadRow, VersionRow};
use crate::id::WriteId;

/// A row that a listing shows by its key.
pub(crate) trait Keyed {
    /// The object key.
    fn key(&self) -> &str;
}

impl Keyed for VersionRow {
    fn key(&self) -> &str {
        &self.key
    }
}

impl Keyed for UploadRow {
    fn key(&self) -> &str {
        &self.key
    }
}

/// Where a scan starts, this place included. Not always a key: the bytes right behind one need not be UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Start {
    /// Bytes of a key.
    pub(crate) key: Vec<u8>,
    /// Bytes of an upload id, for listings of uploads; empty is before all of them.
    pub(crate) upload: Vec<u8>,
}

impl Start {
    fn at(key: &str) -> Self {
        Self { key: key.as_bytes().to_vec(), upload: Vec::new() }
    }

    /// Behind every row of this key: no key lies between one and the same with a zero byte more.
    fn behind(key: &str) -> Self {
        let mut start = Self::at(key);
        start.key.push(0);
        start
    }

    fn behind_upload(key: &str, upload: WriteId) -> Self {
        let mut start = Self::at(key);
        start.upload.extend_from_slice(upload.as_bytes());
        start.upload.push(0);
        start
    }

    /// Behind every key that begins with `prefix`: the last byte one higher, which is no overflow, since UTF-8 never
    /// has 0xff. All keys begin with an empty prefix, so nothing lies behind it.
    fn behind_all_under(prefix: &str) -> Option<Self> {
        let (last, head) = prefix.as_bytes().split_last()?;
        let mut key = head.to_vec();
        key.push(last.saturating_add(1));
        Some(Self { key, upload: Vec::new() })
    }
}

/// Lists what `scan` finds: it visits rows in order from a start, until told to break.
pub(crate) fn page<Row: Keyed, E>(
    query: &ListQuery,
    marker: &UploadMarker,
    mut scan: impl FnMut(&Start, &mut dyn FnMut(Row) -> ControlFlow<()>) -> Result<(), E>,
) -> Result<(Vec<Listed<Row>>, bool), E> {
    let mut page = Page { query, entries: Vec::new(), truncated: false };
    let mut next = if query.limit == 0 { None } else { first(query, marker) };
    while let Some(start) = next.take() {
        scan(&start, &mut |row| match page.take(row) {
            Step::On => ControlFlow::Continue(()),
            Step::To(start) => {
                next = start;
                ControlFlow::Break(())
            }
        })?;
    }
    Ok((page.entries, page.truncated))
}

/// Where the first entry may lie; `None` if nothing is behind the marker.
fn first(query: &ListQuery, marker: &UploadMarker) -> Option<Start> {
    let from_prefix = Start::at(&query.prefix);
    if marker.key.is_empty() {
        return Some(from_prefix);
    }
    let behind_marker = match (rolled_up(query, &marker.key), marker.upload) {
        (Some(prefix), _) if prefix == marker.key => Start::behind_all_under(prefix)?,
        (_, Some(upload)) => Start::behind_upload(&marker.key, upload),
        (_, None) => Start::behind(&marker.key),
    };
    Some(from_prefix.max(behind_marker))
}

/// What this key is rolled up to: up to and with the first delimiter behind the prefix.
fn rolled_up<'a>(query: &ListQuery, key: &'a str) -> Option<&'a str> {
    if query.delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(query.prefix.as_str())?;
    let end = query.prefix.len() + rest.find(&query.delimiter)? + query.delimiter.len();
    key.get(..end)
}

struct Page<'a, Row> {
    query: &'a ListQuery,
    entries: Vec<Listed<Row>>,
    truncated: bool,
}

enum Step {
    /// The next row.
    On,
    /// Start again from there, or end.
    To(Option<Start>),
}

impl<Row: Keyed> Page<'_, Row> {
    fn take(&mut self, row: Row) -> Step {
        if !row.key().starts_with(&self.query.prefix) {
            return Step::To(None);
        }
        if self.entries.len() == self.query.limit {
            self.truncated = true;
            return Step::To(None);
        }
        match rolled_up(self.query, row.key()) {
            None => {
                self.entries.push(Listed::Row(row));
                Step::On
            }
            Some(prefix) => {
                let behind = Start::behind_all_under(prefix);
                self.entries.push(Listed::Prefix(prefix.to_owned()));
                Step::To(behind)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Keyed for String {
        fn key(&self) -> &str {
            self
        }
    }

    /// Lists sorted keys, and says how often it had to seek.
    fn list(keys: &[&str], query: &ListQuery, after: &str) -> (Vec<Listed<String>>, bool, usize) {
        let marker = UploadMarker { key: after.to_owned(), upload: None };
        let mut seeks = 0;
        let (entries, truncated) = page(query, &marker, |start, visit| {
            seeks += 1;
            let _ = keys
                .iter()
                .filter(|key| key.as_bytes() >= start.key.as_slice())
                .try_for_each(|key| visit((*key).to_owned()));
            Ok::<(), ()>(())
        })
        .unwrap();
        (entries, truncated, seeks)
    }

    fn folders(limit: usize) -> ListQuery {
        ListQuery { delimiter: "/".to_owned(), limit, ..ListQuery::default() }
    }

    fn row(key: &str) -> Listed<String> {
        Listed::Row(key.to_owned())
    }

    fn prefix(prefix: &str) -> Listed<String> {
        Listed::Prefix(prefix.to_owned())
    }

    const KEYS: [&str; 6] = ["a", "foo/", "foo/bar", "foo/baz", "fop", "z/1"];

    #[test]
    fn a_marker_that_is_a_rolled_up_prefix_passes_all_under_it() {
        assert_eq!(list(&KEYS, &folders(9), "foo/").0, [row("fop"), prefix("z/")]);
    }

    #[test]
    fn a_marker_within_a_prefix_lists_it_again_while_a_key_under_it_is_ahead() {
        assert_eq!(list(&KEYS, &folders(9), "foo/bar").0, [prefix("foo/"), row("fop"), prefix("z/")]);
        assert_eq!(list(&KEYS, &folders(9), "foo/baz").0, [row("fop"), prefix("z/")]);
    }

    #[test]
    fn a_page_says_that_more_follow_only_if_an_entry_does() {
        let three = [row("a"), prefix("foo/"), row("fop")];
        assert_eq!(list(&KEYS, &folders(3), ""), (three.to_vec(), true, 2));
        // What is left lies under the prefix that was listed last.
        assert!(!list(&KEYS[..4], &folders(2), "").1);
        assert_eq!(list(&KEYS, &folders(0), ""), (Vec::new(), false, 0));
    }

    #[test]
    fn a_thousand_keys_under_one_prefix_cost_one_seek() {
        let keys: Vec<String> = (0..1000).map(|number| format!("x/{number:04}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        assert_eq!(list(&keys, &folders(9), ""), (vec![prefix("x/")], false, 2));
    }
}
