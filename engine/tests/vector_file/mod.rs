//! Reads one file of tests/vectors: `name: value` lines, bytes in hexadecimal with spaces where they help the eye.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a module of tests, in two crates")]

use std::{collections::HashMap, fs, path::Path};

use strongroom_engine::{Context, ContextDigest, DataKey, Kind};

/// One case: what a reader comes with, what it finds, and what must come of it.
pub struct Vector {
    pub name: String,
    fields: HashMap<String, String>,
}

impl Vector {
    /// All of them, found by listing the folder.
    pub fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors");
        let paths = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let mut vectors: Vec<_> =
            paths.filter(|path| path.extension().is_some_and(|end| end == "txt")).map(Self::read).collect();
        vectors.sort_by(|one, two| one.name.cmp(&two.name));
        assert!(!vectors.is_empty(), "no vectors in {}", folder.display());
        vectors
    }

    fn read(path: impl AsRef<Path>) -> Self {
        let text = fs::read_to_string(&path).unwrap();
        let line = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        let fields = text.lines().map(|text| line(text).unwrap()).collect();
        Self { name: path.as_ref().file_stem().unwrap().to_str().unwrap().to_owned(), fields }
    }

    pub fn text(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("{} has no field {name}", self.name))
    }

    pub fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, name: &str) -> T {
        self.text(name).parse().unwrap()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let digits: Vec<_> = self.text(name).chars().filter(|digit| !digit.is_whitespace()).collect();
        assert!(digits.len().is_multiple_of(2), "{}: {name} ends inside a byte", self.name);
        digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap()).collect()
    }

    pub fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }

    pub fn key(&self) -> DataKey {
        DataKey::from_bytes(&mut self.array("key"))
    }

    /// The digest of the fields, which must be the one that the file states.
    pub fn context(&self) -> ContextDigest {
        let field = |name| self.bytes(name);
        let (store_id, bucket_id) = (field("store-id"), field("bucket-id"));
        let (object_key, write_id) = (field("object-key"), field("write-id"));
        let context = Context {
            store_id: &store_id,
            bucket_id: &bucket_id,
            object_key: &object_key,
            write_id: &write_id,
            part_number: self.number("part-number"),
            layer: self.number("layer"),
            ..Context::new(kind(self.number("kind")))
        };
        assert_eq!(*context.digest().as_bytes(), self.array("context"), "{}: the context", self.name);
        context.digest()
    }
}

fn kind(number: u8) -> Kind {
    match number {
        1 => Kind::Stream,
        6 => Kind::ObjectRecord,
        9 => Kind::File,
        _ => panic!("no vector is of kind {number}"),
    }
}
