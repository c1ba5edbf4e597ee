//! Text with wildcards and variables, as it stands in actions, resources and conditions.
//!
//! `*` stands for any characters, `?` for exactly one, `${key}` for the value of a condition key in the request, and
//! `${*}`, `${?}`, `${$}` for the characters themselves. What a variable brings in is taken literally, so that nobody
//! gets a wildcard into a policy by their name; a variable without a value makes the pattern match nothing.

use std::borrow::Cow;

use super::request::Facts;
use super::vocabulary::{self, Prefixes};

/// A pattern, compiled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Token(Token),
    Variable { lower_key: String, default: Option<String> },
}

/// What is left once variables have their values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Char(char),
    /// `?`
    One,
    /// `*`
    Any,
}

/// What has a meaning beyond its characters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syntax {
    pub(super) wildcards: bool,
    /// Policies of version 2008-10-17 have none.
    pub(super) variables: bool,
}

/// Whether upper and lower case differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Case {
    Matters,
    Ignored,
}

impl Pattern {
    /// Compiles `text`; the error says what is wrong with a variable.
    pub(super) fn parse(text: &str, syntax: Syntax) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            if syntax.variables
                && let Some(inner) = rest.strip_prefix("${")
            {
                let (piece, behind) = variable(inner)?;
                pieces.push(piece);
                rest = behind;
                continue;
            }
            pieces.push(Piece::Token(match character {
                '*' if syntax.wildcards => Token::Any,
                '?' if syntax.wildcards => Token::One,
                other => Token::Char(other),
            }));
            rest = &rest[character.len_utf8()..];
        }
        Ok(Self(pieces))
    }

    /// Whether it has no wildcard and no variable.
    pub(super) fn is_fixed(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Token(Token::Char(_))))
    }

    /// Whether a variable stands before the fifth colon, where an ARN may have none.
    pub(super) fn has_variable_before_resource(&self) -> bool {
        let mut colon_count = 0;
        self.0.iter().any(|piece| {
            colon_count += usize::from(*piece == Piece::Token(Token::Char(':')));
            colon_count < 5 && matches!(piece, Piece::Variable { .. })
        })
    }

    /// Whether its variables have values in these facts.
    pub(super) fn resolves(&self, facts: &Facts) -> bool {
        self.resolve(facts).is_some()
    }

    /// Whether all of `text` is as the pattern says.
    pub(super) fn matches(&self, text: &str, case: Case, facts: &Facts) -> bool {
        self.resolve(facts).is_some_and(|tokens| glob(&tokens, &text.chars().collect::<Vec<_>>(), case))
    }

    /// The same for ARNs: each of the six segments by itself, so that no wildcard reaches into the next one. A lone `*`
    /// is every ARN.
    pub(super) fn matches_arn(&self, arn: &str, facts: &Facts) -> bool {
        let Some(tokens) = self.resolve(facts) else { return false };
        if *tokens == [Token::Any] {
            return true;
        }
        let patterns: Vec<&[Token]> = tokens.splitn(6, |token| *token == Token::Char(':')).collect();
        let segments: Vec<&str> = arn.splitn(6, ':').collect();
        let each =
            |(pattern, segment): (&&[Token], &&str)| glob(pattern, &segment.chars().collect::<Vec<_>>(), Case::Matters);
        patterns.len() == 6 && segments.len() == 6 && patterns.iter().zip(&segments).all(each)
    }

    fn resolve(&self, facts: &Facts) -> Option<Cow<'_, [Token]>> {
        let mut tokens = Vec::with_capacity(self.0.len());
        for piece in &self.0 {
            match piece {
                Piece::Token(token) => tokens.push(*token),
                Piece::Variable { lower_key, default } => {
                    // A key with several values is no variable.
                    let value = match (facts.values(lower_key), default) {
                        ([value], _) => value,
                        ([], Some(default)) => default,
                        _ => return None,
                    };
                    tokens.extend(value.chars().map(Token::Char));
                }
            }
        }
        Some(tokens.into())
    }
}

/// A variable, from behind `${`, and what follows it.
fn variable(inner: &str) -> Result<(Piece, &str), String> {
    for special in ['*', '?', '$'] {
        if let Some(behind) = inner.strip_prefix(special).and_then(|rest| rest.strip_prefix('}')) {
            return Ok((Piece::Token(Token::Char(special)), behind));
        }
    }
    let end = inner.find(['}', ',']).ok_or("a variable has no end: } is missing")?;
    let (key, rest) = inner.split_at(end);
    let key = key.trim();
    vocabulary::check_key(key, Prefixes::Any)?;
    if let Some(behind) = rest.strip_prefix('}') {
        return Ok((Piece::Variable { lower_key: key.to_ascii_lowercase(), default: None }, behind));
    }
    let quoted = rest.strip_prefix(',').and_then(|rest| rest.trim_start().strip_prefix('\''));
    let (default, behind) = quoted
        .and_then(|quoted| quoted.split_once('\''))
        .and_then(|(default, rest)| Some((default, rest.trim_start().strip_prefix('}')?)))
        .ok_or("the default of a variable stands in single quotes, as in ${aws:username, 'nobody'}")?;
    Ok((Piece::Variable { lower_key: key.to_ascii_lowercase(), default: Some(default.to_owned()) }, behind))
}

/// Goes back to the last `*` only: what an earlier one could still take in, the last one can too.
fn glob(pattern: &[Token], text: &[char], case: Case) -> bool {
    let same = |token: Token, character: char| match token {
        Token::One => true,
        Token::Any => false,
        Token::Char(wanted) if case == Case::Matters => wanted == character,
        Token::Char(wanted) => wanted.to_lowercase().eq(character.to_lowercase()),
    };
    let (mut at, mut from) = (0, 0);
    let mut last_any = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(Token::Any) => {
                last_any = Some((at, from));
                at += 1;
            }
            Some(token) if same(*token, text[from]) => (at, from) = (at + 1, from + 1),
            _ => match &mut last_any {
                Some((any, start)) => {
                    *start += 1;
                    (at, from) = (*any + 1, *start);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|token| *token == Token::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Syntax = Syntax { wildcards: true, variables: true };

    fn matches(pattern: &str, text: &str) -> bool {
        let mut facts = Facts::default();
        facts.set("aws:username", "a*b");
        Pattern::parse(pattern, ALL).unwrap().matches(text, Case::Matters, &facts)
    }

    #[test]
    fn wildcards_stand_for_any_characters_and_for_one() {
        for (pattern, text) in [("", ""), ("*", ""), ("a*", "a"), ("*b*b", "abbab"), ("a?c", "aéc"), ("**", "x")] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("?", ""), ("a*b", "abc"), ("a?", "a"), ("A", "a"), ("*b*b", "ba")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn what_a_variable_brings_in_is_no_wildcard() {
        assert!(matches("x/${aws:username}/*", "x/a*b/c"));
        assert!(matches("x/${AWS:UserName}", "x/a*b"));
        assert!(!matches("x/${aws:username}", "x/aXb"));
        assert!(matches("${*}${?}${$}", "*?$"));
        assert!(!matches("${*}", "x"));
    }

    #[test]
    fn a_variable_without_value_matches_nothing_unless_it_has_a_default() {
        assert!(!matches("${aws:userid}", ""));
        assert!(!matches("*${aws:userid}*", "x"));
        assert!(matches("${aws:userid, 'no} one'}/*", "no} one/x"));
        assert!(matches("${aws:username,'x'}", "a*b"));
    }

    #[test]
    fn no_wildcard_reaches_into_the_next_segment_of_an_arn() {
        let facts = Facts::default();
        let matches = |pattern: &str, arn: &str| Pattern::parse(pattern, ALL).unwrap().matches_arn(arn, &facts);
        assert!(matches("arn:aws:s3:::b/*", "arn:aws:s3:::b/a:b:c/d"));
        assert!(matches("arn:*:s3:*:*:b/?", "arn:aws:s3:::b/k"));
        assert!(matches("*", "arn:aws:s3:::b"));
        assert!(!matches("arn:aws:*:b", "arn:aws:s3:::b"));
        assert!(!matches("arn:aws:s3:::b/*", "arn:aws:s3:::b"));
        assert!(!matches("arn:aws:s3:*:b", "arn:aws:s3:::b"));
    }

    #[test]
    fn a_broken_variable_is_refused() {
        for pattern in ["${aws:username", "${}", "${aws:username, x}", "${aws:username, 'x'", "${aws:nonsense}", "${x}"]
        {
            assert!(Pattern::parse(pattern, ALL).is_err(), "{pattern}");
        }
        assert!(Pattern::parse("${", Syntax { wildcards: true, variables: false }).is_ok());
    }
}
