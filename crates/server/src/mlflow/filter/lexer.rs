//! Words, values and signs of a filter string.

use std::fmt;

use super::Comparator;
use crate::mlflow::refusal::Refusal;

/// A piece of a word: as it stands, or within quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    text: String,
    quote: Option<char>,
}

/// A name such as `metrics.acc` or ``tags.`my tag` ``, or a word of the language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word(Vec<Piece>);

/// What a filter string is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(Word),
    /// In single quotes.
    Text(String),
    Number(f64),
    Operator(Comparator),
    Open,
    Close,
    Comma,
}

impl Word {
    /// Whether it is this word of the language, in whatever case.
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(self.0.as_slice(), [piece] if piece.quote.is_none() && piece.text.eq_ignore_ascii_case(word))
    }

    /// What stands before the first point that is in no quotes, and the rest.
    pub(crate) fn split(&self) -> (Option<&str>, &str) {
        match self.0.as_slice() {
            [only] => match (only.quote, only.text.split_once('.')) {
                (None, Some((entity, key))) => (Some(entity), key),
                _ => (None, &only.text),
            },
            [entity, .., key] => (Some(entity.text.trim_end_matches('.')), &key.text),
            [] => (None, ""),
        }
    }

    /// What it says if all of it stands in double quotes: then it may be a value.
    fn quoted(&self) -> Option<&str> {
        match self.0.as_slice() {
            [piece] if piece.quote == Some('"') => Some(&piece.text),
            _ => None,
        }
    }
}

impl Token {
    /// What stands in quotes.
    pub(super) fn quoted(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Word(word) => word.quoted(),
            _ => None,
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => word.0.iter().try_for_each(|piece| match piece.quote {
                Some(quote) => write!(f, "{quote}{}{quote}", piece.text),
                None => f.write_str(&piece.text),
            }),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Number(number) => number.fmt(f),
            Self::Operator(comparator) => f.write_str(comparator.as_str()),
            Self::Open => f.write_str("("),
            Self::Close => f.write_str(")"),
            Self::Comma => f.write_str(","),
        }
    }
}

/// Takes a text apart.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '(' => (Token::Open, &rest[1..]),
            ')' => (Token::Close, &rest[1..]),
            ',' => (Token::Comma, &rest[1..]),
            '\'' => {
                let (text, after) = within_quotes(rest)?;
                (Token::Text(text), after)
            }
            '=' | '!' | '<' | '>' => operator(rest)?,
            '0'..='9' | '-' | '+' => number(rest)?,
            _ => word(rest)?,
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

/// What stands between the quote at the beginning and the next one; a quote within is written twice.
fn within_quotes(text: &str) -> Result<(String, &str), Refusal> {
    let mut chars = text.char_indices();
    let Some((_, quote)) = chars.next() else { return Err(unclosed(text)) };
    let mut inner = String::new();
    while let Some((at, char)) = chars.next() {
        if char != quote {
            inner.push(char);
            continue;
        }
        let after = &text[at + quote.len_utf8()..];
        if !after.starts_with(quote) {
            return Ok((inner, after));
        }
        inner.push(quote);
        chars.next();
    }
    Err(unclosed(text))
}

fn unclosed(text: &str) -> Refusal {
    let start: String = text.chars().take(40).collect();
    Refusal::invalid(format!("Invalid clause(s) in filter string: the quote at {start} is not closed"))
}

fn operator(text: &str) -> Result<(Token, &str), Refusal> {
    const OPERATORS: [(&str, Comparator); 7] = [
        ("!=", Comparator::NotEqual),
        ("<>", Comparator::NotEqual),
        ("<=", Comparator::LessOrEqual),
        (">=", Comparator::GreaterOrEqual),
        ("=", Comparator::Equal),
        ("<", Comparator::Less),
        (">", Comparator::Greater),
    ];
    let found = OPERATORS.iter().find_map(|(sign, comparator)| {
        text.strip_prefix(sign).map(|after| (Token::Operator(*comparator), after))
    });
    found
        .filter(|(_, after)| !after.starts_with(['=', '!', '<', '>']))
        .ok_or_else(|| Refusal::invalid("Invalid comparator in filter string"))
}

fn number(text: &str) -> Result<(Token, &str), Refusal> {
    let mut before = ' ';
    let end = text
        .char_indices()
        .find(|(at, char)| {
            let is_sign = matches!(char, '-' | '+') && (*at == 0 || matches!(before, 'e' | 'E'));
            before = *char;
            !(char.is_ascii_alphanumeric() || *char == '.' || is_sign)
        })
        .map_or(text.len(), |(at, _)| at);
    let (number, after) = text.split_at(end);
    let value: Option<f64> = number.parse().ok().filter(|value: &f64| value.is_finite());
    let value = value.ok_or_else(|| {
        Refusal::invalid(format!("Invalid clause(s) in filter string: '{number}' is no number"))
    })?;
    Ok((Token::Number(value), after))
}

fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '.' | '-' | '/' | ':' | '$' | '@')
}

/// A name: letters, and pieces in quotes that follow one another without a space.
fn word(text: &str) -> Result<(Token, &str), Refusal> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut rest = text;
    loop {
        let follows_point =
            pieces.last().is_none_or(|piece| piece.quote.is_none() && piece.text.ends_with('.'));
        match rest.chars().next() {
            Some(quote @ ('`' | '"')) if follows_point => {
                let (text, after) = within_quotes(rest)?;
                pieces.push(Piece { text, quote: Some(quote) });
                rest = after;
            }
            Some(char) if is_of_word(char) && pieces.is_empty() => {
                let end = rest.find(|char| !is_of_word(char)).unwrap_or(rest.len());
                pieces.push(Piece { text: rest[..end].to_owned(), quote: None });
                rest = &rest[end..];
            }
            Some(char) if is_of_word(char) && pieces.len() == 1 && char == '.' => {
                // An entity in quotes, such as `metric`.acc.
                let end = rest.find(|char| !is_of_word(char)).unwrap_or(rest.len());
                let entity = pieces.pop().map(|piece| piece.text).unwrap_or_default();
                pieces.push(Piece { text: format!("{entity}."), quote: None });
                if end > 1 {
                    pieces.push(Piece { text: rest[1..end].to_owned(), quote: None });
                }
                rest = &rest[end..];
            }
            Some(char) if pieces.is_empty() => {
                return Err(Refusal::invalid(format!("Invalid clause(s) in filter string: '{char}'")));
            }
            _ => return Ok((Token::Word(Word(pieces)), rest)),
        }
    }
}

/// The first word of a text, and what follows it.
pub(super) fn first_word(text: &str) -> Result<(Word, &str), Refusal> {
    match word(text.trim_start())? {
        (Token::Word(word), rest) => Ok((word, rest)),
        (other, _) => Err(Refusal::invalid(format!("Invalid name '{other}'"))),
    }
}
