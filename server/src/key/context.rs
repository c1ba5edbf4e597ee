//! The encryption context that a client gives with SSE-KMS: pairs of strings that the wrap is bound to.

use std::collections::BTreeMap;

use base64_simd::STANDARD;

/// Of the canonical JSON in bytes, as KMS has it.
const LEN_MAX: usize = 8_192;

/// Canonical JSON: one object, its names in order, no white space. Empty where there is no pair.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EncryptionContext(String);

/// The header holds no encryption context.
#[derive(Debug, thiserror::Error)]
#[error("must be Base64 of UTF-8 JSON, one object of strings, of at most {LEN_MAX} bytes")]
pub struct InvalidContext;

impl EncryptionContext {
    /// Reads what a header holds.
    ///
    /// # Errors
    /// [`InvalidContext`].
    pub fn from_base64(header: &str) -> Result<Self, InvalidContext> {
        let json = STANDARD.decode_to_vec(header).map_err(|_| InvalidContext)?;
        let pairs: BTreeMap<String, String> = serde_json::from_slice(&json).map_err(|_| InvalidContext)?;
        if pairs.is_empty() {
            return Ok(Self::default());
        }
        let canonical = serde_json::to_string(&pairs).map_err(|_| InvalidContext)?;
        if canonical.len() > LEN_MAX { Err(InvalidContext) } else { Ok(Self(canonical)) }
    }

    /// The canonical JSON.
    pub fn into_json(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<String, InvalidContext> {
        EncryptionContext::from_base64(&STANDARD.encode_to_string(json)).map(EncryptionContext::into_json)
    }

    #[test]
    fn the_order_of_names_and_white_space_make_no_other_context() {
        assert_eq!(parsed(r#"{ "b": "2", "a":"1" }"#).unwrap(), r#"{"a":"1","b":"2"}"#);
        assert_eq!(parsed("{}").unwrap(), "");
    }

    #[test]
    fn what_is_no_object_of_strings_is_refused() {
        for json in ["", "null", "[]", "\"a\"", r#"{"a":1}"#, r#"{"a":null}"#, r#"{"a":{"b":"c"}}"#, "{\"a\":\"b\"} x"]
        {
            assert!(parsed(json).is_err(), "{json}");
        }
        assert!(EncryptionContext::from_base64("e30").is_err(), "without padding");
        assert!(parsed(&format!(r#"{{"a":"{}"}}"#, "x".repeat(LEN_MAX))).is_err());
    }
}
