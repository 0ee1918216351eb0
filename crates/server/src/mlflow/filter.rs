//! The filter strings of MLflow's searches: comparisons joined by `AND`, such as `metrics.acc > 0.9 AND tags.team = 'a'`.
//!
//! A pure piece: [`parse`] reads a text in the words of one search ([`Vocabulary`]) or says what is wrong with it, and
//! [`Clause::holds`] asks it of a [`Subject`]. Reading takes time in proportion to the text, never more, whatever it says.

mod lexer;
mod order;
mod wildcard;

use self::lexer::{Token, Word, lex};
pub(crate) use self::order::{OrderKey, parse_order, sort};
use super::refusal::Refusal;

/// Longest filter string, in bytes.
pub(crate) const FILTER_LEN_MAX: usize = 64 << 10;
/// Most comparisons in one.
const CLAUSES_MAX: usize = 256;

/// What a comparison looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entity {
    Attribute,
    Metric,
    Param,
    Tag,
    Dataset,
    Metadata,
}

/// What kind of values an attribute has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
}

/// An attribute: what it is called in the filter, what it is, and what kind of value it has.
pub(crate) type Attribute = (&'static str, &'static str, Kind);

/// The words of one search.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    /// What stands before the first point, and what it means.
    pub(crate) entities: &'static [(&'static str, Entity)],
    pub(crate) attributes: &'static [Attribute],
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
    ILike,
    In,
    NotIn,
    IsNull,
    IsNotNull,
}

/// What is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Nothing,
    Number(f64),
    Text(String),
    List(Vec<String>),
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clause {
    pub(crate) entity: Entity,
    pub(crate) key: String,
    pub(crate) comparator: Comparator,
    pub(crate) operand: Operand,
}

/// A value of a subject.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Found {
    Number(f64),
    Text(String),
}

/// What can be searched.
pub(crate) trait Subject {
    /// The values under a key: none, one, or for data sets one each.
    fn find(&self, entity: Entity, key: &str) -> Vec<Found>;
}

impl Comparator {
    /// What asks whether a number is so.
    const fn is_for_numbers(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Less
                | Self::LessOrEqual
                | Self::Greater
                | Self::GreaterOrEqual
        )
    }

    const fn is_for_lists(self) -> bool {
        matches!(self, Self::In | Self::NotIn)
    }

    const fn is_for_nothing(self) -> bool {
        matches!(self, Self::IsNull | Self::IsNotNull)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Like => "LIKE",
            Self::ILike => "ILIKE",
            Self::In => "IN",
            Self::NotIn => "NOT IN",
            Self::IsNull => "IS NULL",
            Self::IsNotNull => "IS NOT NULL",
        }
    }
}

/// Reads a filter string; an empty one holds for everything.
pub(crate) fn parse(text: &str, words: &Vocabulary) -> Result<Vec<Clause>, Refusal> {
    if text.len() > FILTER_LEN_MAX {
        return Err(Refusal::invalid(format!(
            "the filter string is over the limit of {FILTER_LEN_MAX} bytes"
        )));
    }
    let tokens = lex(text)?;
    let mut rest = tokens.as_slice();
    let mut clauses = Vec::new();
    while !rest.is_empty() {
        if !clauses.is_empty() {
            rest = match rest {
                [Token::Word(word), rest @ ..] if word.is("AND") => rest,
                [other, ..] => return Err(invalid_clause(other)),
                [] => break,
            };
        }
        let (clause, after) = comparison(rest, words)?;
        clauses.push(clause);
        rest = after;
        if clauses.len() > CLAUSES_MAX {
            return Err(Refusal::invalid(format!(
                "the filter string has more than {CLAUSES_MAX} comparisons"
            )));
        }
    }
    Ok(clauses)
}

fn invalid_clause(token: &Token) -> Refusal {
    Refusal::invalid(format!("Invalid clause(s) in filter string: '{token}'"))
}

fn incomplete() -> Refusal {
    Refusal::invalid("Invalid clause(s) in filter string: it ends within a comparison")
}

fn comparison<'t>(tokens: &'t [Token], words: &Vocabulary) -> Result<(Clause, &'t [Token]), Refusal> {
    let [first, rest @ ..] = tokens else { return Err(incomplete()) };
    let Token::Word(word) = first else { return Err(invalid_clause(first)) };
    let (entity, key, kind) = identifier(word, words)?;
    let (comparator, rest) = comparator(rest)?;
    check_comparator(entity, kind, comparator)?;
    let (operand, rest) = match comparator {
        comparator if comparator.is_for_nothing() => (Operand::Nothing, rest),
        comparator if comparator.is_for_lists() => list(rest)?,
        _ => one(rest, entity, &key, kind)?,
    };
    Ok((Clause { entity, key, comparator, operand }, rest))
}

/// What a name stands for in the words of a search.
pub(crate) fn identifier(word: &Word, words: &Vocabulary) -> Result<(Entity, String, Kind), Refusal> {
    let (entity, key) = match word.split() {
        (None, key) => (Entity::Attribute, key),
        (Some(name), key) => {
            let found = words.entities.iter().find(|(known, _)| *known == name);
            let entity = found.map(|(_, entity)| *entity).ok_or_else(|| unknown_entity(name, words))?;
            (entity, key)
        }
    };
    let kind = match entity {
        Entity::Attribute => {
            let known = words.attributes.iter().find(|(known, ..)| *known == key);
            let (_, name, kind) = known.ok_or_else(|| unknown_attribute(key, words))?;
            return Ok((entity, (*name).to_owned(), *kind));
        }
        Entity::Metric => Kind::Number,
        Entity::Dataset if !["name", "digest", "context"].contains(&key) => {
            return Err(Refusal::invalid(format!(
                "Invalid dataset key '{key}' specified. Valid keys are 'name', 'digest', 'context'"
            )));
        }
        Entity::Param | Entity::Tag | Entity::Dataset | Entity::Metadata => Kind::Text,
    };
    Ok((entity, key.to_owned(), kind))
}

fn unknown_entity(name: &str, words: &Vocabulary) -> Refusal {
    let known: Vec<&str> = words.entities.iter().map(|(name, _)| *name).collect();
    Refusal::invalid(format!("Invalid entity type '{name}'. Valid values are {known:?}"))
}

fn unknown_attribute(key: &str, words: &Vocabulary) -> Refusal {
    let known: Vec<&str> = words.attributes.iter().map(|(name, ..)| *name).collect();
    Refusal::invalid(format!("Invalid attribute key '{key}' specified. Valid keys are '{known:?}'"))
}

fn comparator(tokens: &[Token]) -> Result<(Comparator, &[Token]), Refusal> {
    match tokens {
        [Token::Operator(comparator), rest @ ..] => Ok((*comparator, rest)),
        [Token::Word(word), rest @ ..] if word.is("LIKE") => Ok((Comparator::Like, rest)),
        [Token::Word(word), rest @ ..] if word.is("ILIKE") => Ok((Comparator::ILike, rest)),
        [Token::Word(word), rest @ ..] if word.is("IN") => Ok((Comparator::In, rest)),
        [Token::Word(not), Token::Word(word), rest @ ..] if not.is("NOT") && word.is("IN") => {
            Ok((Comparator::NotIn, rest))
        }
        [Token::Word(is), Token::Word(word), rest @ ..] if is.is("IS") && word.is("NULL") => {
            Ok((Comparator::IsNull, rest))
        }
        [Token::Word(is), Token::Word(not), Token::Word(word), rest @ ..]
            if is.is("IS") && not.is("NOT") && word.is("NULL") =>
        {
            Ok((Comparator::IsNotNull, rest))
        }
        [other, ..] => Err(Refusal::invalid(format!("Invalid comparator '{other}' in filter string"))),
        [] => Err(incomplete()),
    }
}

fn check_comparator(entity: Entity, kind: Kind, comparator: Comparator) -> Result<(), Refusal> {
    let fits = match (entity, kind) {
        (_, Kind::Number) => comparator.is_for_numbers(),
        (Entity::Param | Entity::Tag | Entity::Metadata, Kind::Text) => {
            matches!(
                comparator,
                Comparator::Equal | Comparator::NotEqual | Comparator::Like | Comparator::ILike
            ) || comparator.is_for_nothing()
        }
        (Entity::Attribute | Entity::Dataset | Entity::Metric, Kind::Text) => {
            matches!(
                comparator,
                Comparator::Equal | Comparator::NotEqual | Comparator::Like | Comparator::ILike
            ) || comparator.is_for_lists()
        }
    };
    match fits {
        true => Ok(()),
        false => Err(Refusal::invalid(format!(
            "Invalid comparator '{}' for what it is used on in the filter string",
            comparator.as_str()
        ))),
    }
}

fn one<'t>(
    tokens: &'t [Token],
    entity: Entity,
    key: &str,
    kind: Kind,
) -> Result<(Operand, &'t [Token]), Refusal> {
    let [token, rest @ ..] = tokens else { return Err(incomplete()) };
    let operand = match (kind, token) {
        (Kind::Number, Token::Number(number)) => Operand::Number(*number),
        (Kind::Number, other) if entity == Entity::Metric => {
            return Err(Refusal::invalid(format!("Expected numeric value type for metric. Found {other}")));
        }
        (Kind::Number, other) => {
            return Err(Refusal::invalid(format!(
                "Expected numeric value type for numeric attribute: {key}. Found {other}"
            )));
        }
        (Kind::Text, token) => match token.quoted() {
            Some(text) => Operand::Text(text.to_owned()),
            None => {
                return Err(Refusal::invalid(format!(
                    "Expected a quoted string value for {key} (e.g. 'my-value'). Got value {token}"
                )));
            }
        },
    };
    Ok((operand, rest))
}

fn list(tokens: &[Token]) -> Result<(Operand, &[Token]), Refusal> {
    let ill_formed = || {
        Refusal::invalid(
            "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed list.",
        )
    };
    let [Token::Open, rest @ ..] = tokens else { return Err(ill_formed()) };
    let mut items = Vec::new();
    let mut rest = rest;
    loop {
        let [token, after @ ..] = rest else { return Err(ill_formed()) };
        match token.quoted() {
            Some(text) => items.push(text.to_owned()),
            None if matches!(token, Token::Close) && !items.is_empty() => {
                return Ok((Operand::List(items), after));
            }
            None => return Err(ill_formed()),
        }
        rest = match after {
            [Token::Comma, after @ ..] => after,
            [Token::Close, after @ ..] => return Ok((Operand::List(items), after)),
            _ => return Err(ill_formed()),
        };
    }
}

impl Clause {
    /// Whether it is so of a subject. What a subject does not have is equal to nothing and unequal to nothing.
    pub(crate) fn holds(&self, subject: &dyn Subject) -> bool {
        let found = subject.find(self.entity, &self.key);
        match self.comparator {
            Comparator::IsNull => found.is_empty(),
            Comparator::IsNotNull => !found.is_empty(),
            _ => found.iter().any(|value| self.holds_for(value)),
        }
    }

    fn holds_for(&self, value: &Found) -> bool {
        match (value, &self.operand) {
            (Found::Number(left), Operand::Number(right)) => numbers(self.comparator, *left, *right),
            (Found::Text(left), Operand::Text(right)) => texts(self.comparator, left, right),
            (Found::Text(left), Operand::List(list)) => {
                list.contains(left) == (self.comparator == Comparator::In)
            }
            _ => false,
        }
    }
}

#[expect(clippy::float_cmp, reason = "this is what the user asks")]
fn numbers(comparator: Comparator, left: f64, right: f64) -> bool {
    match comparator {
        Comparator::Equal => left == right,
        Comparator::NotEqual => left != right,
        Comparator::Less => left < right,
        Comparator::LessOrEqual => left <= right,
        Comparator::Greater => left > right,
        Comparator::GreaterOrEqual => left >= right,
        _ => false,
    }
}

fn texts(comparator: Comparator, left: &str, right: &str) -> bool {
    match comparator {
        Comparator::Equal => left == right,
        Comparator::NotEqual => left != right,
        Comparator::Like => wildcard::matches(right, left),
        Comparator::ILike => wildcard::matches(&right.to_lowercase(), &left.to_lowercase()),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
