//! Groups of devices: a small language over labels, such as `hardware=jetson and site in (berlin, paris) and not canary`.
//!
//! A label is a key with a value; a bare key asks whether the device has it and it is not `false`. A value with commas
//! stands for several, any of which fits: an `engine` of `rten,onnxruntime` is either. Membership follows from labels alone,
//! so it changes with them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest expression, in bytes.
pub const EXPRESSION_LEN_MAX: usize = 1000;
/// Deepest nesting of parentheses and negations.
pub const DEPTH_MAX: usize = 32;
/// Longest key or value of a label, in bytes.
pub const LABEL_LEN_MAX: usize = 128;
/// Most labels of one device.
pub const LABELS_MAX: usize = 64;
/// Labels that devices report of themselves; nobody else sets them.
pub const FACTS: [&str; 6] = ["agent", "arch", "engine", "hardware", "os", "soc"];

/// Labels of a device.
pub type Labels = BTreeMap<String, String>;

/// Which devices are in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    text: String,
    root: Node,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Has(String),
    Is(String, Vec<String>),
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
}

/// A text that is no [`Expression`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at} of '{text}': {expected}")]
pub struct ParseExpressionError {
    /// The text, or its beginning.
    pub text: String,
    /// Where, counted from 1.
    pub at: usize,
    /// What was expected, and what was found.
    pub expected: String,
}

/// Why a label cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A key that is no key.
    #[error(
        "'{0}' is no key of a label: use up to {LABEL_LEN_MAX} of a-z, 0-9, '.', '_', '-', and none of and, or, not, in"
    )]
    Key(String),
    /// A value that is no value.
    #[error(
        "'{0}' is no value of a label: use 1 to {LABEL_LEN_MAX} characters that are printed, without quotes"
    )]
    Value(String),
    /// A key that belongs to the devices.
    #[error("'{0}' is reported by the devices themselves and cannot be set")]
    Fact(String),
}

/// Checks a label that a person sets.
///
/// # Errors
/// See [`LabelError`].
pub fn check_label(key: &str, value: &str) -> Result<(), LabelError> {
    if FACTS.contains(&key) {
        return Err(LabelError::Fact(key.to_owned()));
    }
    if key.is_empty() || key.len() > LABEL_LEN_MAX || is_word(key) || !key.chars().all(is_key_char) {
        return Err(LabelError::Key(key.chars().take(LABEL_LEN_MAX).collect()));
    }
    let printed = |c: char| !c.is_control() && c != '"';
    match !value.is_empty() && value.len() <= LABEL_LEN_MAX && value.chars().all(printed) {
        true => Ok(()),
        false => Err(LabelError::Value(value.chars().take(LABEL_LEN_MAX).collect())),
    }
}

fn is_word(text: &str) -> bool {
    matches!(text, "and" | "or" | "not" | "in")
}

const fn is_key_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-')
}

const fn is_value_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '+' | '/')
}

impl Expression {
    /// Whether a device with these labels is in the group.
    #[must_use]
    pub fn includes(&self, labels: &Labels) -> bool {
        self.root.holds(labels)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Node {
    fn holds(&self, labels: &Labels) -> bool {
        match self {
            Self::Has(key) => labels.get(key).is_some_and(|value| value != "false"),
            Self::Is(key, values) => labels.get(key).is_some_and(|found| {
                let fits = |value: &String| found == value || found.split(',').any(|part| part == value);
                values.iter().any(fits)
            }),
            Self::Not(node) => !node.holds(labels),
            Self::And(nodes) => nodes.iter().all(|node| node.holds(labels)),
            Self::Or(nodes) => nodes.iter().any(|node| node.holds(labels)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Sign(&'static str),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) => write!(f, "'{text}'"),
            Self::Quoted(text) => write!(f, "\"{text}\""),
            Self::Sign(text) => write!(f, "'{text}'"),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Tokens with the character at which each begins, from 1.
    tokens: Vec<(usize, Token)>,
    next: usize,
}

type Parsed<T> = Result<T, ParseExpressionError>;

fn refuse<T>(text: &str, at: usize, expected: impl Into<String>) -> Parsed<T> {
    Err(ParseExpressionError { text: text.chars().take(200).collect(), at, expected: expected.into() })
}

fn tokens(text: &str) -> Parsed<Vec<(usize, Token)>> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let begin = at;
        at += 1;
        let token = match c {
            c if c.is_whitespace() => continue,
            '(' => Token::Sign("("),
            ')' => Token::Sign(")"),
            ',' => Token::Sign(","),
            '=' => Token::Sign("="),
            '!' if chars.get(at) == Some(&'=') => {
                at += 1;
                Token::Sign("!=")
            }
            '"' => {
                let length = chars[at..].iter().position(|c| *c == '"');
                let Some(length) = length else {
                    return refuse(text, begin + 1, "this quote is never closed");
                };
                at += length + 1;
                Token::Quoted(chars[begin + 1..at - 1].iter().collect())
            }
            c if is_value_char(c) => {
                at = begin + chars[begin..].iter().take_while(|c| is_value_char(**c)).count();
                Token::Word(chars[begin..at].iter().collect())
            }
            other => {
                return refuse(
                    text,
                    begin + 1,
                    format!("'{other}' means nothing here; quote values that have it"),
                );
            }
        };
        tokens.push((begin + 1, token));
    }
    Ok(tokens)
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(found)) if found == word)
    }

    fn take(&mut self, sign: &'static str) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.next += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.next += usize::from(found);
        found
    }

    fn refuse<T>(&self, expected: &str) -> Parsed<T> {
        match self.tokens.get(self.next) {
            Some((at, token)) => refuse(self.text, *at, format!("expected {expected}, found {token}")),
            None => refuse(
                self.text,
                self.text.chars().count() + 1,
                format!("expected {expected}, found the end"),
            ),
        }
    }

    fn any(&mut self, depth: usize) -> Parsed<Node> {
        let mut nodes = vec![self.all(depth)?];
        while self.take_word("or") {
            nodes.push(self.all(depth)?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Or(nodes) })
    }

    fn all(&mut self, depth: usize) -> Parsed<Node> {
        let mut nodes = vec![self.one(depth)?];
        while self.take_word("and") {
            nodes.push(self.one(depth)?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::And(nodes) })
    }

    fn one(&mut self, depth: usize) -> Parsed<Node> {
        if depth > DEPTH_MAX {
            return self.refuse("less nesting");
        }
        if self.take_word("not") {
            return Ok(Node::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take("(") {
            let node = self.any(depth + 1)?;
            return if self.take(")") { Ok(node) } else { self.refuse("and, or, or a closing parenthesis") };
        }
        self.test()
    }

    fn test(&mut self) -> Parsed<Node> {
        const KEY: &str = "the key of a label, not, or a parenthesis";
        let key = match self.peek() {
            Some(Token::Word(word)) if !is_word(word) && word.chars().all(is_key_char) => word.clone(),
            _ => return self.refuse(KEY),
        };
        self.next += 1;
        if self.take("=") {
            return Ok(Node::Is(key, vec![self.value()?]));
        }
        if self.take("!=") {
            return Ok(Node::Not(Box::new(Node::Is(key, vec![self.value()?]))));
        }
        if self.take_word("in") {
            return Ok(Node::Is(key, self.values()?));
        }
        Ok(Node::Has(key))
    }

    fn value(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(Token::Word(value) | Token::Quoted(value)) => {
                let value = value.clone();
                self.next += 1;
                Ok(value)
            }
            _ => self.refuse("a value"),
        }
    }

    fn values(&mut self) -> Parsed<Vec<String>> {
        if !self.take("(") {
            return self.refuse("values in parentheses");
        }
        let mut values = vec![self.value()?];
        while self.take(",") {
            values.push(self.value()?);
        }
        if self.take(")") { Ok(values) } else { self.refuse("a comma or a closing parenthesis") }
    }
}

impl FromStr for Expression {
    type Err = ParseExpressionError;

    fn from_str(text: &str) -> Parsed<Self> {
        if text.len() > EXPRESSION_LEN_MAX {
            return refuse(
                text,
                EXPRESSION_LEN_MAX,
                format!("an expression is at most {EXPRESSION_LEN_MAX} bytes long"),
            );
        }
        let mut parser = Parser { text, tokens: tokens(text)?, next: 0 };
        let root = parser.any(0)?;
        match parser.peek() {
            None => Ok(Self { text: text.to_owned(), root }),
            Some(_) => parser.refuse("and, or, or the end"),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(text: &str) -> Labels {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn check(expression: &str, of: &str, expect: bool) {
        assert_eq!(
            expression.parse::<Expression>().unwrap().includes(&labels(of)),
            expect,
            "{expression} of {of}"
        );
    }

    #[test]
    fn labels_decide() {
        let example = "hardware=jetson and site in (berlin, paris) and not canary";
        check(example, "hardware=jetson site=paris", true);
        check(example, "hardware=jetson site=paris canary=true", false);
        check(example, "hardware=jetson site=paris canary=false", true);
        check(example, "hardware=jetson site=rome", false);
        check("a=1 or b=2 and c=3", "a=1", true);
        check("(a=1 or b=2) and c=3", "a=1", false);
        check("a != 1", "", true);
        check("engine=onnxruntime", "engine=rten,onnxruntime", true);
        check("site=\"New York\"", "site=York", false);
        check("not not x", "x=y", true);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let check = |text: &str, at: usize, expected: &str| {
            let error = text.parse::<Expression>().unwrap_err();
            assert_eq!(error.at, at, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        };
        check("", 1, "expected the key of a label, not, or a parenthesis, found the end");
        check("a=1 b=2", 5, "expected and, or, or the end, found 'b'");
        check("a = ", 5, "expected a value, found the end");
        check("site in berlin", 9, "expected values in parentheses, found 'berlin'");
        check("site in (a b)", 12, "expected a comma or a closing parenthesis");
        check("(a or b", 8, "a closing parenthesis, found the end");
        check("a = \"x", 5, "never closed");
        check("a & b", 3, "'&' means nothing here");
        check("Site=x", 1, "found 'Site'");
        check(&"(".repeat(40), 34, "less nesting");
        check(&"x".repeat(EXPRESSION_LEN_MAX + 1), EXPRESSION_LEN_MAX, "at most 1000 bytes");
    }

    #[test]
    fn labels_of_people_are_not_those_of_devices() {
        assert_eq!(check_label("site", "berlin"), Ok(()));
        assert_eq!(check_label("os", "linux"), Err(LabelError::Fact("os".to_owned())));
        for (key, value) in [("", "x"), ("Site", "x"), ("not", "x"), ("a b", "x"), ("a", ""), ("a", "x\"y")] {
            assert!(check_label(key, value).is_err(), "{key} {value}");
        }
    }

    fn node() -> impl Strategy<Value = String> {
        let test = prop_oneof![
            Just("a".to_owned()),
            Just("b=1".to_owned()),
            Just("b != 2".to_owned()),
            Just("c in (1, \"2\")".to_owned()),
        ];
        test.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|node| format!("not ({node})")),
                prop::collection::vec(inner.clone(), 1..3)
                    .prop_map(|nodes| format!("({})", nodes.join(" and "))),
                prop::collection::vec(inner, 1..3).prop_map(|nodes| format!("({})", nodes.join(" or "))),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_written_nothing_panics(text in "\\PC{0,60}") {
            let _ = text.parse::<Expression>();
        }

        #[test]
        fn not_is_the_opposite_and_and_or_are_what_they_are(
            one in node(), two in node(), a in any::<bool>(), b in 0..4u8, c in 0..4u8,
        ) {
            let mut labels = Labels::from([("b".to_owned(), b.to_string()), ("c".to_owned(), c.to_string())]);
            if a { labels.insert("a".to_owned(), "yes".to_owned()); }
            let holds = |text: String| text.parse::<Expression>().map(|expression| expression.includes(&labels));
            let (Ok(first), Ok(second)) = (holds(one.clone()), holds(two.clone())) else {
                // Too long or too deep.
                return Ok(());
            };
            let same = |text: String, expect: bool| holds(text).map_or(true, |found| found == expect);
            let expected = [
                (format!("not ({one})"), !first),
                (format!("({one}) and ({two})"), first && second),
                (format!("({one}) or ({two})"), first || second),
                (format!("not ({one}) or not ({two})"), !(first && second)),
            ];
            for (text, expect) in expected {
                prop_assert!(same(text.clone(), expect), "{}", text);
            }
        }
    }
}
